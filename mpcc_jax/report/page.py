"""The page about a trained model: one file, all that it shows inside; and its figures as files beside it."""

import math
import numbers
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
from flax.traverse_util import flatten_dict

from mpcc_jax.errors import printable
from mpcc_jax.report.charts import (
    THEMES,
    Chart,
    encode_figure,
    make_confusion_chart,
    make_curve_charts,
    qualitative_colors,
)
from mpcc_jax.report.findings import Findings
from mpcc_jax.report.latent_maps import can_be_mapped, make_map_charts
from mpcc_jax.report.sheets import Picture, make_strip, save_figures, to_uri
from mpcc_jax.workdir import replace_file

MINUS = "\N{MINUS SIGN}"
COLUMNS = 8
# Pixels of the page that a row of images has.
CARD_ROOM, SMALL_CARD_ROOM, STRIP_ROOM, PAGE_ROOM = 530, 264, 548, 1100
MOST_LARGE_CARDS = 24
MOST_PAIRS, MOST_PATHS, MOST_OUTLIERS = 64, 16, 32

# What scores are called, and what they mean in a line.
LABELLED_SCORES = {
    "accuracy_many_to_one": (
        "Accuracy, many to one",
        "Every cluster stands for its most frequent class; several may stand for one. Purity, Eq. 11, as in the paper.",
    ),
    "accuracy_one_to_one": (
        "Accuracy, one to one",
        "Every cluster stands for a class of its own (Hungarian algorithm). The number in most later work.",
    ),
    "nmi": (
        "Normalised mutual information",
        "What clusters and classes say about each other, over the mean of their entropies. 0 is nothing, 1 all.",
    ),
    "ami": ("Adjusted mutual information", "The same, corrected for chance. 0 is chance, 1 all."),
    "ari": (
        "Adjusted Rand index",
        "Pairs of images that clusters and classes treat alike, corrected for chance. 0 is chance, 1 all.",
    ),
}
UNLABELLED_SCORES = {
    "cluster_entropy": ("Entropy of the cluster sizes", "In nats; {log_k:.3f} if all clusters are of one size."),
    "empty_clusters": ("Empty clusters", "Clusters that hold no image."),
    "mean_confidence": ("Mean confidence", "Mean probability of the cluster that an image is put into (Eq. 9)."),
    "silhouette": (
        "Silhouette of the latents",
        f"How much nearer images are to their own cluster than to the next one. {MINUS}1 to 1.",
    ),
    "prior_overlap": (
        "Overlap of the prior",
        "Bhattacharyya coefficient of the two components that overlap most. 0 is apart, 1 the same.",
    ),
    "reconstruction_mse": (
        "Reconstruction error",
        f"Mean squared error of G(E(x)) over real images and their pixels, in [{MINUS}1, 1].",
    ),
    "latent_mse": ("Latent error", "Squared distance of a latent z and E(G(z)), summed over its dimensions; mean."),
    "generated_cluster_accuracy": (
        "Components found again",
        "Share of generated images that the encoder puts into the component that they were drawn from.",
    ),
    "evaluated_images": ("Images scored", "Real images behind these numbers."),
}
GENERATION_SCORES = {
    "fid": ("Fréchet Inception distance", "Between features of real and generated images. Less is better."),
    "kid": ("Kernel Inception distance", "The same with a polynomial kernel, unbiased. Less is better."),
    "inception_score": ("Inception score", "How sure and how varied a classifier finds the images. More is better."),
    "reference_inception_score": ("Inception score of real images", "The same of the real images, to compare with."),
}
SCORES = LABELLED_SCORES | UNLABELLED_SCORES | GENERATION_SCORES
# What a reader of the page wants to know of a configuration.
MAIN_SETTINGS = (
    *("seed", "variant", "data.name", "data.resolution"),
    *(f"model.{name}" for name in ("channels", "latent_dim", "num_clusters", "conditioning")),
    *("prior.family", "prior.sigma_min", "loss.adversarial", "loss.prior_weight"),
    *(f"training.{name}" for name in ("iterations", "batch_size", "discriminator_steps", "encoder_steps")),
    *("training.learning_rate", "training.prior_learning_rate", "training.conditional", "ema.decay"),
)


class Entry(NamedTuple):
    """A number as the page shows it, with its meaning in one line or ""."""

    name: str
    value: str
    meaning: str


class Card(NamedTuple):
    """A cluster on the page: its colours, its real images in words, and strips of images by title."""

    number: int
    light: str
    dark: str
    size: str
    share: str
    bar: float  # percent of the largest cluster's size
    majority: str | None
    majority_share: str | None
    strips: list[tuple[str, Picture | None]]


def write_page(findings: Findings, folder: str | Path) -> Path:
    """Writes report.html, which needs no other file, and its figures into report/; returns the path of the page."""
    folder = Path(folder)
    charts = make_charts(findings)
    text = render_page(findings, charts)
    (folder / "report").mkdir(parents=True, exist_ok=True)
    save_figures(findings, [chart for group in charts.values() for chart in group], folder / "report")
    path = folder / "report.html"
    with replace_file(path) as file:
        file.write(text.encode("utf-8", "backslashreplace"))
    return path


def make_charts(findings: Findings) -> dict[str, list[Chart]]:
    """Makes all charts that the findings have the numbers for, by section."""
    confusion, latents = findings.confusion, findings.latents
    return {
        "confusion": [] if confusion is None else [make_confusion_chart(confusion, findings.class_names)],
        "maps": make_map_charts(findings) if latents is not None and can_be_mapped(latents) else [],
        "curves": make_curve_charts(findings.history),
    }


def render_page(findings: Findings, charts: dict[str, list[Chart]]) -> str:
    """Renders the page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mpcc_jax.report", "."),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str and "\n" not in value else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    all_settings = flatten_dict(findings.config, sep=".")
    return environment.get_template("page.html.j2").render(
        findings=findings,
        number=show_number,
        facts=_list_facts(findings),
        **_group_scores(findings),
        protocol=_make_rows((findings.generation or {}).get("protocol") or {}),
        cards=make_cards(findings),
        small_cards=findings.num_clusters > MOST_LARGE_CARDS,
        pairs=make_pairs(findings),
        paths=make_paths(findings),
        outliers=make_outliers(findings),
        charts={section: [_draw_in_themes(chart) for chart in group] for section, group in charts.items()},
        settings=_make_rows({name: all_settings[name] for name in MAIN_SETTINGS if name in all_settings}),
        all_settings=_make_rows(all_settings),
        about_data=_make_rows(findings.data),
        environment=_make_rows(findings.environment),
        themes=THEMES,
    )


def _draw_in_themes(chart: Chart) -> dict[str, Any]:
    (light, width, height), (dark, *_) = [encode_figure(chart.draw(theme)) for theme in THEMES]
    uris = {"light": to_uri(light, "png"), "dark": to_uri(dark, "png")}
    return {"title": chart.title, "alt": chart.alt, "width": width, "height": height, **uris}


def _list_facts(findings: Findings) -> list[str]:
    """Lists what stands below the title."""
    data = findings.data
    facts = [" ".join(str(data[name]) for name in ("name", "version") if data.get(name))]
    facts += [data["split"]] if data.get("split") else []
    facts += [f"{show_number(data['count'])} images"] if data.get("count") else []
    facts += [f"{findings.num_clusters} cluster{'s' if findings.num_clusters > 1 else ''}"]
    return facts if findings.iteration is None else [*facts, f"{findings.iteration:,} iterations"]


def _make_rows(settings: dict) -> list[tuple[str, str]]:
    return [(name, _show_setting(value)) for name, value in flatten_dict(settings, sep=".").items()]


def _show_setting(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_show_setting, value))
    return str(value)


def show_number(value: Any) -> str:
    """Formats a number: whole ones in groups of three, others with four digits after the point or four in all."""
    if value is None:
        return "not defined"
    if isinstance(value, numbers.Integral):
        text = f"{value:,}"
    elif value == 0 or 0.001 <= abs(value) < 10:
        text = f"{value:.4f}"
    else:
        text = f"{value:,.1f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
    return text.replace("-", MINUS)


def explain_scores(scores: dict, num_clusters: int, names: Iterable[str]) -> list[Entry]:
    """Makes the entries of those names that have a score.

    Args:
      scores: by name: numbers, None, or dictionaries with "mean" and "sd"; why one is None may be a sentence under its
        name with "_missing" behind it.
    """
    entries = []
    for name in names:
        if name in scores:
            title, meaning = SCORES.get(name, (name.replace("_", " ").capitalize(), ""))
            meaning = meaning.format(log_k=math.log(num_clusters))
            reason = scores.get(f"{name}_missing")
            score = scores[name]
            is_mean = isinstance(score, Mapping)
            text = f"{show_number(score['mean'])} ± {score['sd']:.2g}" if is_mean else show_number(score)
            entries.append(Entry(title, text, f"{meaning} Missing: {reason}." if reason else meaning))
    return entries


def _group_scores(findings: Findings) -> dict[str, list[Entry]]:
    """Explains scores against labels, the others, and those of generation; unknown names come last in their group."""
    scores, count = findings.scores, findings.num_clusters
    generation = {name: value for name, value in (findings.generation or {}).items() if name != "protocol"}
    reasons = {f"{name}_missing" for name in generation}
    unlabelled = [name for name in UNLABELLED_SCORES | scores if name not in LABELLED_SCORES]
    generated = [name for name in GENERATION_SCORES | generation if name not in reasons]
    return {
        "labelled": explain_scores(scores, count, LABELLED_SCORES),
        "unlabelled": explain_scores(scores, count, unlabelled),
        "generation": explain_scores(generation, count, generated),
    }


def make_cards(findings: Findings) -> list[Card]:
    """Makes the card of every cluster; where there are many, each gets less room."""
    count, sizes = findings.num_clusters, findings.cluster_sizes
    is_small = count > MOST_LARGE_CARDS
    room, largest, generated = (SMALL_CARD_ROOM, 32, COLUMNS) if is_small else (CARD_ROOM, 64, 2 * COLUMNS)
    colors, cards = [qualitative_colors(count, theme) for theme in THEMES], []
    for cluster in range(count):
        images_by_title = {"Generated": findings.samples[cluster][:generated]}
        for title, rows in (("Most typical, real", findings.typical), ("Least typical, real", findings.atypical)):
            images_by_title |= {} if rows is None else {title: rows[cluster][:COLUMNS]}
        strips = []
        for title, images in images_by_title.items():
            alt = f"Cluster {cluster}: {title.lower()}, {len(images)} images"
            strips.append((title, make_strip(images, COLUMNS, room, alt, largest) if len(images) else None))
        majority, share = (findings.majorities and findings.majorities[cluster]) or (None, None)
        cards.append(
            Card(
                number=cluster,
                light=colors[0][cluster],
                dark=colors[1][cluster],
                size=f"{sizes[cluster]:,}",
                share=f"{sizes[cluster] / max(sizes.sum(), 1):.1%}",
                bar=round(100 * float(sizes[cluster]) / max(float(sizes.max()), 1), 1),
                majority=majority,
                majority_share=None if share is None else f"{share:.0%}",
                strips=strips,
            )
        )
    return cards


def make_pairs(findings: Findings) -> list[Picture]:
    """Makes strips of originals above their reconstructions, so many at most that they can be looked at."""
    if findings.originals is None:
        return []
    strips = []
    for start in range(0, min(len(findings.originals), MOST_PAIRS), COLUMNS):
        rows = [images[start : start + COLUMNS] for images in (findings.originals, findings.reconstructions)]
        alt = f"Real images {start + 1} to {start + len(rows[0])} above their reconstructions"
        strips.append(make_strip(np.concatenate(rows), len(rows[0]), STRIP_ROOM, alt, full_row=COLUMNS))
    return strips


def make_paths(findings: Findings) -> Picture | None:
    """Makes the picture of paths between latents, a row each."""
    if findings.interpolations is None or not len(findings.interpolations):
        return None
    rows = findings.interpolations[:MOST_PATHS]
    alt = f"{len(rows)} paths between two latents, a row each, in {rows.shape[1]} steps"
    return make_strip(rows.reshape(-1, *rows.shape[2:]), rows.shape[1], PAGE_ROOM, alt)


def make_outliers(findings: Findings) -> list[tuple[Picture, str]]:
    """Makes pictures of the images of low density, with the log density in nats as text."""
    if findings.outliers is None:
        return []
    pictures = []
    for image, log_prob in zip(findings.outliers[:MOST_OUTLIERS], findings.outlier_log_probs, strict=False):
        density = f"{log_prob:,.1f}".replace("-", MINUS)
        pictures.append((make_strip(image[None], 1, 81, f"Outlier, log density {density} nats", 80), density))
    return pictures
