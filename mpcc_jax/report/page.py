"""The page about a trained model: one file, all that it shows inside; and its figures as files beside it."""

import os
import pathlib
from typing import NamedTuple

from mpcc_jax.report import vocabulary
from mpcc_jax.report.cards import has_small_cards, make_cards, make_outliers, make_pairs, make_paths
from mpcc_jax.report.charts import THEMES, encode_figure
from mpcc_jax.report.confusion import confusion_chart
from mpcc_jax.report.curves import curve_charts
from mpcc_jax.report.figures import save_figures
from mpcc_jax.report.images import to_uri
from mpcc_jax.report.latent_maps import can_be_mapped
from mpcc_jax.report.maps import map_charts
from mpcc_jax.workdir import flatten


class ThemedPicture(NamedTuple):
    """A chart of the page, once for every theme.

    Attributes:
      title, alt: of the `Chart`.
      light, dark: data URIs.
      width, height: pixels of the page.
    """

    title: str
    alt: str
    light: str
    dark: str
    width: int
    height: int


def write_page(findings, folder):
    """Writes report.html, which needs no other file, and its figures into report/.

    Args:
      findings: `Findings`.
      folder: path of a directory; made if missing.

    Returns:
      `pathlib.Path` of report.html.
    """
    folder = pathlib.Path(folder)
    charts = draw_charts(findings)
    text = render_page(findings, charts)
    (folder / "report").mkdir(parents=True, exist_ok=True)
    save_figures(findings, [chart for group in charts.values() for chart in group], folder / "report")
    path = folder / "report.html"
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
    return path


def draw_charts(findings):
    """All charts that the findings have the numbers for.

    Args:
      findings: `Findings`.

    Returns:
      Lists of `Chart`s by section: "confusion", "maps", "curves".
    """
    confusion = findings.confusion
    mappable = findings.latents is not None and can_be_mapped(findings.latents)
    return {
        "confusion": [] if confusion is None else [confusion_chart(confusion, findings.class_names)],
        "maps": map_charts(findings) if mappable else [],
        "curves": curve_charts(findings.history),
    }


def render_page(findings, charts):
    """The page as text.

    Args:
      findings: `Findings`.
      charts: from `draw_charts`.

    Returns:
      HTML.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mpcc_jax.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        findings=findings,
        facts=_facts(findings),
        **_score_groups(findings),
        protocol=_rows((findings.generation or {}).get("protocol") or {}),
        cards=make_cards(findings),
        small_cards=has_small_cards(findings),
        pairs=make_pairs(findings),
        paths=make_paths(findings),
        outliers=make_outliers(findings),
        charts={section: [_themed(chart) for chart in group] for section, group in charts.items()},
        settings=_rows(_main_settings(findings)),
        all_settings=_rows(findings.config),
        about_data=_rows(findings.data),
        environment=_rows(findings.environment),
        themes=THEMES,
    )


def _facts(findings):
    """What stands below the title."""
    data = findings.data
    known = [" ".join(str(data[name]) for name in ("name", "version") if data.get(name)), data.get("split")]
    if data.get("count"):
        known.append(f"{vocabulary.show_number(data['count'])} images")
    clusters = f"{findings.num_clusters} cluster{'s' if findings.num_clusters > 1 else ''}"
    return [fact for fact in known if fact] + [clusters, f"{findings.iteration:,} iterations"]


def _score_groups(findings):
    """Scores against labels, the others, and those of generation, as `Entry`s."""
    scores, generation = findings.scores, findings.generation or {}
    single = {name: value for name, value in generation.items() if name != "protocol"}
    hidden = {f"{name}_missing" for name in single}
    others = [name for name in vocabulary.WITHOUT_LABELS if name in scores]
    others += [name for name in scores if name not in vocabulary.AGAINST_LABELS and name not in others]
    known = [name for name in vocabulary.OF_GENERATION if name in single]
    known += [name for name in single if name not in known and name not in hidden]
    count = findings.num_clusters
    return {
        "labelled": vocabulary.explain(scores, count, vocabulary.AGAINST_LABELS),
        "unlabelled": vocabulary.explain(scores, count, others),
        "generation": vocabulary.explain(single, count, known),
    }


def _rows(settings):
    return [(name, _show(value)) for name, value in flatten(settings).items()]


def _show(value):
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_show, value))
    return str(value)


def _main_settings(findings):
    flat = flatten(findings.config)
    return {name: flat[name] for name in vocabulary.MAIN_SETTINGS if name in flat}


def _themed(chart):
    drawn = [encode_figure(chart.draw(theme)) for theme in THEMES]
    (light, width, height), (dark, *_) = drawn
    return ThemedPicture(chart.title, chart.alt, to_uri(light, "png"), to_uri(dark, "png"), width, height)
