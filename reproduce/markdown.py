"""Tables in Markdown, from what `summary`, `study` and `beside` have gathered."""

from reproduce.arms import ARMS
from reproduce.beside import HEADINGS
from reproduce.catalogue import MEASURES
from reproduce.study import SCORES
from reproduce.summary import NOT_RUN

NONE = "—"
MSE_NOTE = (
    "MSE: ours is the mean of the squared errors, of pixels in [-1, 1]. The released code, from which the paper's "
    "figures came, squares the mean of the errors, so no difference is given."
)
WELCH_NOTE = (
    "Difference to `paper`: of the mean accuracies in points, with its 95 % interval by Welch's t (runs not paired, "
    "variances not equal; `scipy.stats.ttest_ind`). The intervals are not corrected for their number."
)


def render(headings, rows):
    """A table.

    Args:
      headings: texts.
      rows: lists of texts, as many as headings.

    Returns:
      Lines of Markdown.
    """
    cells = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]


def number(value, digits=2):
    """A number, or a dash. Args: value; digits behind the point. Returns text."""
    return NONE if value is None else f"{value:.{digits}f}"


def figure(mean, sd, digits=2):
    """Mean and spread. Args: mean; sd, or None; digits behind the point. Returns text."""
    return number(mean, digits) + ("" if sd is None else f" ± {number(sd, digits)}")


def signed(value):
    """A difference. Args: value. Returns text with its sign."""
    return f"{value:+.2f}".replace("-", "\u2212")


def render_published(lines):
    """Ours beside the paper's.

    Args:
      lines: from `reproduce.summary.summarize_table`.

    Returns:
      Lines of Markdown.
    """
    rows = []
    for line in lines:
        published, difference = line["published"], line["difference"]
        rows.append(
            [
                line["label"],
                line["heading"],
                line["arm"],
                line["n"],
                line.get("missing") or figure(line["mean"], line["sd"]),
                figure(published["mean"], published["sd"], _digits(published["mean"])) if published else NONE,
                difference if isinstance(difference, str) else NONE if difference is None else signed(difference),
            ]
        )
    text = render(["row", "measure", "variant", "seeds", "ours", "published", "difference"], rows)
    notes = [MSE_NOTE] if any(not MEASURES[line["measure"]].comparable for line in lines) else []
    return [*text, *(line for note in notes for line in ("", note))]


def _digits(value):
    """As the paper prints it."""
    return 2 if round(value, 2) == value else 3


def render_study(lines):
    """Arms beside each other, a table for each data set, and the figure of every seed.

    Args:
      lines: from `reproduce.study.summarize_study`.

    Returns:
      Lines of Markdown.
    """
    text = [WELCH_NOTE]
    for label in dict.fromkeys(line["label"] for line in lines):
        chosen = [line for line in lines if line["label"] == label]
        digits = {name: 2 if factor > 1 else 3 for name, _, factor in SCORES}
        rows, seeds = [], []
        for line in sorted(chosen, key=lambda line: ARMS.index(line["arm"])):
            cells = [
                figure(score["mean"], score["sd"], digits[name]) if (score := line["scores"].get(name)) else NOT_RUN
                for name in digits
            ]
            rows.append([line["arm"], line["n"], *cells, _interval(line["difference"])])
            seeds += [
                [line["arm"], seed, *(number(line["scores"][name]["values"][index], digits[name]) for name in digits)]
                for index, seed in enumerate(line["seeds"])
            ]
        headings = [heading for _, heading, _ in SCORES]
        text += ["", f"## {label}", "", *render(["arm", "seeds", *headings, "difference to paper"], rows)]
        text += ["", "Every seed:", "", *render(["arm", "seed", *headings], seeds)] if seeds else []
    return text


def _interval(difference):
    if difference is None:
        return NONE
    if difference["low"] is None:
        return signed(difference["mean"])
    return f"{signed(difference['mean'])} ({signed(difference['low'])} to {signed(difference['high'])})"


def render_beside(lines):
    """Ours beside the baselines.

    Args:
      lines: from `reproduce.beside.compare_with_baselines`.

    Returns:
      Lines of Markdown; none of no lines.
    """
    if not lines:
        return []
    rows = [
        [line["label"], line["method"], line["images"], line["n"]]
        + [figure(score["mean"], score["sd"], 3) if (score := line["scores"].get(name)) else NONE for name in HEADINGS]
        for line in lines
    ]
    headings = ["data", "method", "images", "seeds", *HEADINGS.values()]
    return ["", "## Beside classical methods on the same images", "", *render(headings, rows)]


def render_runs(runs):
    """What the figures have to be read with.

    Args:
      runs: from `reproduce.summary.describe_runs`.

    Returns:
      Lines of Markdown; none of no runs.
    """
    if not runs:
        return []
    rows = []
    for run in runs:
        hours = [f"{value:.2f}" if value else "not known" for value in run["hours"]]
        accuracies = [number(value and 100 * value) for value in run["accuracies"]]
        rows.append(
            [
                run["label"],
                run["arm"],
                *(", ".join(map(str, cell)) for cell in (run["seeds"], accuracies, hours, run["iterations"])),
                *("; ".join(map(str, run[name])) for name in ("precision", "hardware", "commit", "versions")),
                " to ".join(dict.fromkeys([run["dates"][0], run["dates"][-1]])),
                "; ".join(run["scored_on"]),
            ]
        )
    headings = ["row", "variant", "seeds", "accuracy of each, %", "hours of each", "iterations", "precision"]
    headings += ["hardware", "commit", "versions", "date", "scored on"]
    notes = [
        "Hours are of training, compilation included; those of runs that were interrupted are summed from their logs."
    ]
    samples = {count for run in runs for count in run["samples"]}
    notes += [f"IS and FID of {', '.join(map(str, sorted(samples)))} generated images."] if samples else []
    return ["", "## Runs", "", *render(headings, rows), *(line for note in notes for line in ("", note))]


def render_sentences(heading, sentences):
    """A list under a heading. Args: heading; sentences. Returns lines; none of no sentences."""
    return (
        ["", f"## {heading}", "", *(f"- {' '.join(sentence.split())}" for sentence in sentences)] if sentences else []
    )
