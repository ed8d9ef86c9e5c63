"""Tables in Markdown, from records of runs and baselines; as a program it fills those of README and docs.

python -m reproduce.markdown

Between `<!-- table: FILE, HEADING -->` and `<!-- /table -->` stands the first table below that heading of the file,
without the rows that were not run; behind `HEADING, N` the N-th.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, ttest_ind

from reproduce.tables import ARMS, BEST_OF, MEASURES, Measure, Row, Table, find_scale

NONE = "—"
NOT_RUN = "not run"
HEADINGS = {
    "paper": "at the paper's scale",
    "cpu": "on one CPU: images, networks and runs smaller than the paper's, with no claim to its figures",
}
# Scores of a clustering, of our runs and of baselines.
CLUSTERING = {
    "accuracy_many_to_one": "many to one (Eq. 11)",
    "accuracy_one_to_one": "one to one",
    "nmi": "NMI",
    "ari": "ARI",
}
# Scores of the study: heading, factor and digits.
STUDY = {
    "accuracy_many_to_one": ("accuracy (Eq. 11), %", 100.0, 2),
    "nmi": ("NMI", 1.0, 3),
    "ari": ("ARI", 1.0, 3),
    "reconstruction_mse": ("reconstruction MSE", 1.0, 3),
}
ACCURACY = ("accuracy_many_to_one", 100.0)
MSE_NOTE = (
    "MSE: ours is the mean of the squared errors, of pixels in [-1, 1]. The released code, from which the paper's "
    "figures came, squares the mean of the errors, so no difference is given."
)
WELCH_NOTE = (
    "Difference to `paper`: of the mean accuracies in points, with its 95 % interval by Welch's t (runs not paired, "
    "variances not equal; `scipy.stats.ttest_ind`). The intervals are not corrected for their number."
)
ACCURACY_HEADING = STUDY[ACCURACY[0]][0]
BOOTSTRAP_NOTE = (
    "Difference to `paper`: of the mean accuracies in points, with its 95 % bootstrap interval (BCa, `scipy.stats`)."
)
RUNS_NOTE = (
    "Hours are of training, compilation included; those of runs that were interrupted are summed from their logs. "
    "Hardware and commit are those of the process that finished a run."
)

Records = dict[tuple[str, str], list[dict]]  # by name of the row and arm


def render(headings: list[str], rows: list[list]) -> list[str]:
    """Renders a table as lines of Markdown."""
    cells = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in cells]


def spread(values: list[float], digits: int = 2) -> str:
    """Renders mean ± standard deviation of a sample (n - 1 below the line); of one value the value alone."""
    deviation = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{deviation}"


def signed(value: float) -> str:
    """Renders a difference."""
    return f"{value:+.2f}".replace("-", "\u2212")


def difference(values: list[float], others: list[float]) -> str:
    """Renders how far the means of two samples are apart, with its interval by Welch's t where there is spread."""
    if not values or not others:
        return NONE
    mean = signed(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2 or np.ptp(values) == np.ptp(others) == 0:
        return mean
    interval = ttest_ind(values, others, equal_var=False).confidence_interval(0.95)
    return f"{mean} ({signed(interval.low)} to {signed(interval.high)})"


def value_of(record: dict, score: str) -> float | None:
    """Finds a score in a record; None if it was not measured."""
    generation = record["generation"] or {}
    if score == "inception_score":
        return generation.get(score, {}).get("mean")
    return generation.get("fid") if score == "fid" else record["scores"].get(score)


def values_of(records: list[dict], score: str, factor: float = 1.0) -> list[float]:
    """Finds a score in all records that have it."""
    return [factor * value for record in records if (value := value_of(record, score)) is not None]


def _explain_missing(records: list[dict], measure: Measure, count: int) -> str:
    if not records:
        return NOT_RUN
    if count:
        return f"needs {BEST_OF} seeds, has {count}"
    return "not measured" + (" (no Inception weights)" if measure.score in ("fid", "inception_score") else "")


def _walk(table: Table, records: Records) -> list[tuple[Row, str, list[dict]]]:
    """Every row and arm of a table with its records."""
    return [(row, arm, records[row.name, arm]) for row in table.rows for arm in table.shown]


def render_published(table: Table, records: Records) -> list[str]:
    """Renders our figures beside the paper's."""
    lines = [
        _published_line(row, arm, name, members)
        for row, arm, members in _walk(table, records)
        for name in table.measures
        if not row.published or name in row.published  # AIM has no clusters, so no accuracy
    ]
    text = render(["row", "measure", "variant", "seeds", "ours", "published", "difference"], lines)
    return text + (["", MSE_NOTE] if "mse" in table.measures else [])


def _published_line(row: Row, arm: str, name: str, records: list[dict]) -> list:
    measure, published, gap = MEASURES[name], NONE, NONE
    values = values_of(records, measure.score, measure.factor)
    complete = len(values) == BEST_OF if measure.best else bool(values)
    chosen = sorted(values)[-measure.best :]
    ours = spread(chosen) if complete else _explain_missing(records, measure, len(values))
    if name in row.published:
        mean, deviation = row.published[name]
        digits = 2 if round(mean, 2) == mean else 3  # as the paper prints it
        published = f"{mean:.{digits}f} ± {deviation:.{digits}f}"
        if complete:
            gap = signed(np.mean(chosen) - mean) if measure.comparable else "of another quantity"
    return [row.label, measure.heading, arm, len(values), ours, published, gap]


def _study_cells(records: list[dict]) -> list[str]:
    samples = [(values_of(records, name, factor), digits) for name, (_, factor, digits) in STUDY.items()]
    return [spread(values, digits) if values else NONE if records else NOT_RUN for values, digits in samples]


def render_study(table: Table, records: Records) -> list[str]:
    """Renders arms beside each other, a table for each data set, and the scores of every seed."""
    text, headings = [WELCH_NOTE], [heading for heading, *_ in STUDY.values()]
    for row in table.rows:
        lines, seeds, base = [], [], values_of(records[row.name, ARMS[0]], *ACCURACY)
        for arm in table.shown:
            members = records[row.name, arm]
            gap = NONE if arm == ARMS[0] else difference(values_of(members, *ACCURACY), base)
            lines.append([arm, len(members), *_study_cells(members), gap])
            seeds += [[arm, record["seed"], *_study_cells([record])] for record in members]
        text += ["", f"## {row.label}", "", *render(["arm", "seeds", *headings, "difference to paper"], lines)]
        text += ["", "Every seed:", "", *render(["arm", "seed", *headings], seeds)] if seeds else []
    return text


def _bootstrap_difference(values: list[float], others: list[float]) -> str:
    """Renders how far two means are apart, with the 95 % bootstrap interval if both are of several values."""
    gap = signed(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2:
        return gap
    found = bootstrap(
        (values, others),
        lambda a, b, axis: a.mean(axis) - b.mean(axis),
        n_resamples=10_000,
        rng=np.random.default_rng(0),
    )
    low, high = found.confidence_interval
    return f"{gap} ({signed(low)} to {signed(high)})"


def render_reliability(table: Table, records: Records) -> list[str]:
    """Renders how good an arm is and how sure one can be of it: a table for each data set, and every seed."""
    text, scores = [BOOTSTRAP_NOTE], {name: heading for name, heading in CLUSTERING.items() if name != ACCURACY[0]}
    headings = ["arm", "seeds", ACCURACY_HEADING, "median", "lowest", "share above 90 %", *scores.values()]
    for row in table.rows:
        lines, seeds, base = [], [], values_of(records[row.name, table.arms[0]], *ACCURACY)
        for arm in table.shown:
            members = records[row.name, arm]
            values = values_of(members, *ACCURACY)
            if not values:
                continue
            others = [spread(values_of(members, name), 3) for name in scores]
            gap = NONE if arm == table.arms[0] or not base else _bootstrap_difference(values, base)
            share = f"{sum(value > 90 for value in values)} of {len(values)}"
            low = f"{min(values):.2f}"
            lines.append([arm, len(values), spread(values), f"{np.median(values):.2f}", low, share, *others, gap])
            seeds += [[arm, record["seed"], *_study_cells([record])] for record in members]
        text += ["", f"## {row.label}", "", *render([*headings, "difference"], lines)]
        text += ["", "Every seed:", "", *render(["arm", "seed", *(name for name, *_ in STUDY.values())], seeds)]
    return text


def render_clustering(groups: Iterable[tuple[str, str, int, list[dict]]]) -> list[str]:
    """Renders the scores of clusterings: data, method, number of images, and the records of all seeds."""
    rows = []
    for label, method, count, records in groups:
        samples = [[record["scores"].get(name) for record in records] for name in CLUSTERING]
        cells = [NONE if None in values else spread(values, 3) for values in samples]
        seconds = [record.get("processor_seconds", record.get("seconds")) for record in records]
        seconds = NONE if None in seconds else f"{np.mean(seconds):.1f}"
        rows.append([label, method, count, len(records), *cells, seconds])
    return render(["data", "method", "images", "seeds", *CLUSTERING.values(), "seconds"], rows)


def group_baselines(label: str, records: list[dict]) -> list[tuple[str, str, int, list[dict]]]:
    """Groups the baselines of one data set by method, for `render_clustering`."""
    titles = dict.fromkeys(record["title"] for record in records)
    members = [(title, [record for record in records if record["title"] == title]) for title in titles]
    return [(label, title, chosen[0]["count"], chosen) for title, chosen in members]


def _render_beside(table: Table, records: Records, baselines: dict[str, list[dict]]) -> list[str]:
    """Our clusterings beside those of classical methods."""
    groups = []
    for row in table.rows:
        for arm in table.shown:
            if members := records[row.name, arm]:
                groups.append((row.label, f"MPCC, {arm}", members[0]["evaluated_images"], members))
        groups += group_baselines(row.label, baselines[row.name])
    heading = ["", "## Beside classical methods on the same images", ""]
    return [*heading, *render_clustering(groups)] if groups else []


# Columns of the table of runs: what stands there for every seed, and what is listed once.
EACH_SEED = {
    "seeds": lambda record: str(record["seed"]),
    "accuracy of each, %": lambda record: ", ".join(f"{value:.2f}" for value in values_of([record], *ACCURACY)),
    "hours of each": lambda record: (
        f"{record['seconds'] / record['seeds_at_once'] / 3600:.2f}" if record["seconds"] else "not known"
    ),
}
ONCE = {
    "iterations": lambda record: str(record["iterations"]),
    "precision": lambda record: record["precision"],
    "hardware": lambda record: "; ".join(record["hardware"]),
    "commit": lambda record: "; ".join(record["commit"]),
    "versions": lambda record: ", ".join(" ".join(pair) for pair in (record["versions"] or {}).items()),
    "date": lambda record: record["date"],
    "scored on": lambda record: f"{record['evaluated_images']} of {record['data']['count']} images",
}


def render_runs(table: Table, records: Records) -> list[str]:
    """Renders where, when and how long the runs were trained."""
    lines, samples = [], set()
    for row, arm, members in _walk(table, records):
        if members:
            each = [", ".join(map(column, members)) for column in EACH_SEED.values()]
            once = ["; ".join(filter(None, dict.fromkeys(map(column, members)))) for column in ONCE.values()]
            lines.append([row.label, arm, *each, *once])
        samples |= {figures["protocol"]["num_samples"] for record in members if (figures := record["generation"])}
    if not lines:
        return []
    notes = ["", RUNS_NOTE]
    notes += ["", f"IS and FID of {', '.join(map(str, sorted(samples)))} generated images."] if samples else []
    return ["", "## Runs", "", *render(["row", "variant", *EACH_SEED, *ONCE], lines), *notes]


def _render_list(heading: str, sentences: list[str]) -> list[str]:
    return ["", f"## {heading}", "", *(f"- {' '.join(line.split())}" for line in sentences)] if sentences else []


def describe_scale(table: Table, scale: str) -> list[str]:
    """Says what a scale changes in the rows of a table."""
    sentences = {}
    for row in table.rows:
        words, fields = find_scale(scale, row.get_config().data.name)
        settings = ", ".join(f"{name} {value}" for name, value in fields.items())
        sentences.setdefault(words + (f" ({settings})" if settings else ""), []).append(row.label)
    return [f"{'; '.join(labels)}: {words}" for words, labels in sentences.items()]


def render_page(
    table: Table,
    scale: str,
    records: Records,
    failed: list[str],
    left_out: list[str],
    baselines: dict[str, list[dict]],
) -> str:
    """Renders a table from the records of finished runs, sentences about others, and baselines by name of the row."""
    lines = [
        f"# {table.title}, {HEADINGS[scale]}",
        "",
        f"Made by `python -m reproduce {table.name} --scale={scale}` from the records in `runs/`: mean ± sample "
        "standard deviation over seeds, at the last iteration.",
        "",
        *(f"- {sentence}" for sentence in describe_scale(table, scale)),
        "",
        *{"study": render_study, "extended": render_reliability}.get(table.name, render_published)(table, records),
        *(_render_beside(table, records, baselines) if table.name == "table4" else []),
        *render_runs(table, records),
        *_render_list("Failed", failed),
        *_render_list("Left out", left_out),
    ]
    return "\n".join(lines) + "\n"


_MARKED = re.compile(r"(<!-- table: (\S+), ([^>]+?)(?:, (\d+))? -->\n).*?(?=<!-- /table -->)", re.S)


def find_table(page: str, heading: str, number: int = 1) -> str:
    """Finds the lines of a table in a page, without the rows that were not run."""
    section = page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.findall(r"(?:^\|.*\n)+", section, re.M)[number - 1]
    return "".join(line for line in table.splitlines(keepends=True) if f"| {NOT_RUN} |" not in line)


def fill(text: str, root: Path) -> str:
    """Fills the marked tables of a text from files below `root`."""

    def table(found: re.Match) -> str:
        page = (root / found[2]).read_text(encoding="utf-8")
        return found[1] + find_table(page, found[3], int(found[4] or 1))

    return _MARKED.sub(table, text)


if __name__ == "__main__":
    for path in (Path("README.md"), *sorted(Path("docs").glob("*.md"))):
        path.write_text(fill(path.read_text(encoding="utf-8"), Path()), encoding="utf-8")
