"""gpu.md and gpu.json: all results of a run as tables, beside the targets."""

import json
import pathlib

import numpy as np

from benchmarks.gpu.session import read

# Issue 6, on one H100.
CIFAR10_RATE, CIFAR10_RATIO = 20, 2
MNIST_RATE, MNIST_SEEDS_RATE, MNIST_RATIO = 300, 1000, 4


def spread(values, digits=1):
    """Args: values; digits. Returns minimum, median and maximum as text."""
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), float(np.median(values)), max(values)))


def table(heading, rows):
    """A Markdown table. Args: heading, texts; rows of texts. Returns lines."""
    lines = [heading, ["---"] * len(heading), *rows]
    return ["| " + " | ".join(str(cell).replace("\n", " ").replace("|", "/") for cell in line) + " |" for line in lines]


def of_kind(records, kind, **labels):
    """Args: records; kind; labels they must have. Returns those that were measured."""
    return [
        record
        for record in records
        if record["kind"] == kind and not record.get("error") and all(record.get(k) == v for k, v in labels.items())
    ]


def best_peer(records, config):
    """The peer's fastest variant.

    Args:
      records: all results.
      config: its name.

    Returns:
      The record, or None.
    """
    found = of_kind(records, "peer", config=config)
    return max(found, key=lambda record: np.median(record["peer"]), default=None)


def targets(records):
    """What was aimed at and what was reached.

    Args:
      records: all results.

    Returns:
      Dictionaries of target, wanted, measured (None if it was not) and met.
    """

    def rate(config):
        found = of_kind(records, "speed", config=config, precision="bfloat16")
        return float(np.median(found[-1]["iterations_per_second"])) if found else None

    def ratio(config):
        best = best_peer(records, config)
        return float(np.median(best["ratio"])) if best else None

    totals = [float(np.median(record["seed_iterations_per_second"])) for record in of_kind(records, "seeds")]
    total, best = max(totals, default=None), best_peer(records, "mnist")
    lines = [
        ("cifar10, bfloat16, iterations/s", CIFAR10_RATE, rate("cifar10")),
        ("cifar10, times the peer's best", CIFAR10_RATIO, ratio("cifar10")),
        ("mnist, bfloat16, one seed, iterations/s", MNIST_RATE, rate("mnist")),
        ("mnist, seed-iterations/s in total", MNIST_SEEDS_RATE, total),
        ("mnist, one seed, times the peer's best", MNIST_RATIO, ratio("mnist")),
        (
            "mnist, seeds in total, times the peer's best",
            MNIST_RATIO,
            total / float(np.median(best["peer"])) if total and best else None,
        ),
    ]
    return [
        {"target": name, "wanted": wanted, "measured": value, "met": None if value is None else value >= wanted}
        for name, wanted, value in lines
    ]


def target_table(records):
    """Args: records, all results. Returns `targets` as lines of a table."""
    rows = [
        [line["target"], line["wanted"], "not measured" if line["measured"] is None else f"{line['measured']:.2f}",
         {None: "", True: "met", False: "missed"}[line["met"]]]
        for line in targets(records)
    ]  # fmt: skip
    return table(("target", "at least", "measured", ""), rows)


def _megabytes(value):
    return "" if value is None else f"{value / 2**20:.0f}"


def _percent(shares, name):
    return f"{shares[name]:.1%}" if shares else "peak not known"


def _compile(record):
    return f"{record['trace_s']:.1f} + {record['compile_s']:.1f}{' (cached)' if record['cached'] else ''}"


def _speed_rows(records):
    for record in of_kind(records, "speed"):
        rates, best = record["iterations_per_second"], best_peer(records, record["config"])
        beside = best and best["precision"] == record["precision"]
        yield [
            f"{record['config']}, {record['precision']}",
            spread(rates),
            f"{np.median(record['with_loader']):.1f}",
            _percent(record["utilisation"], "published"),
            _percent(record["utilisation"], "rewritten"),
            f"{spread(best['ratio'], 2)} ({best['variant']})" if beside else "",
            f"{record['hours']:.2f} ({record['published_iterations']})",
            _compile(record),
            _megabytes(record["peak_bytes"]),
            _megabytes(record["program_bytes"]),
            record["iterations_per_call"],
        ]


SPEED_HEADING = (
    *("config, precision", "iterations/s min / median / max", "with loader", "utilisation, published", "rewritten"),
    *("times the peer's best, in turns", "hours (iterations)", "trace + compile s", "peak MiB", "program MiB"),
    "iterations a call",
)


def _labels(record):
    hidden = {"kind", "stage", "error"}
    return ", ".join(f"{name}={value}" for name, value in record.items() if name not in hidden)


def _brief(error):
    """Beginning and end: a traceback has its cause in the last line."""
    return error if len(error) <= 400 else f"{error[:120]} [...] {error[-270:]}"


def _measured_rows(records):
    """The tables after the speeds: (title, heading, rows)."""
    rows = [
        [r["precision"], r["against"], f"{r['largest']:.2e}" if isinstance(r["largest"], float) else r["largest"],
         r["bound"], "pass" if r["passed"] else "FAIL"]
        for r in of_kind(records, "correctness")
    ]  # fmt: skip
    heading = ("precision", "against", "largest difference of a loss / max(1, loss)", "bound", "")
    yield "Correctness: mnist, one iteration from the same state, images and noise", heading, rows
    rows = [
        [r["config"], r["variant"], r["precision"], spread(r["ours"]), spread(r["peer"]), spread(r["ratio"], 2),
         f"{r['facts']['warm_up']:.1f}", _megabytes(r["facts"].get("peak_bytes"))]
        for r in of_kind(records, "peer")
    ]  # fmt: skip
    heading = ("config", "peer's variant", "ours", "ours it/s", "peer it/s", "ours / peer", "warm-up s", "peak MiB")
    yield "The PyTorch peer on the same card, in turns", heading, rows
    rows = [
        [r["num_seeds"], spread(r["iterations_per_second"]), spread(r["seed_iterations_per_second"]), _compile(r),
         _megabytes(r["program_bytes"])]
        for r in of_kind(records, "seeds")
    ]  # fmt: skip
    heading = ("seeds at once", "iterations/s", "seed-iterations/s", "trace + compile s", "program MiB")
    yield "Several seeds in one program: mnist", heading, rows
    rows = [[r["length"], spread(r["iterations_per_second"]), _compile(r)] for r in of_kind(records, "length")]
    yield "Iterations in a call: mnist", ("iterations a call", "iterations/s", "trace + compile s"), rows
    rows = [
        [r["config"], r.get("options") or f"speed.{r['field']} = {r['value']}", spread(r["default"]),
         spread(r["changed"]), spread(r["ratio"], 3), _compile(r)]
        for r in of_kind(records, "switch") + of_kind(records, "option")
    ]  # fmt: skip
    heading = ("config", "setting", "default it/s", "changed it/s", "changed / default", "trace + compile s")
    yield "Settings, in turns with the default", heading, rows
    for r in of_kind(records, "profile"):
        rows = [[kind, f"{time:.3f}", f"{time / r['window']:.1%}"] for kind, time in r["by_kind"].items()]
        rows += [[f"`{top['name']}`", f"{top['milliseconds']:.3f}", f"{top['share']:.1%}"] for top in r["top"]]
        title = f"Profile: {r['config']}, {r['precision']}, {r['window']:.2f} ms and {r['kernels']:.0f} kernels"
        yield f"{title} an iteration, traced", ("kind or kernel", "ms an iteration", "share"), rows


def markdown(records):
    """The report.

    Args:
      records: all results.

    Returns:
      Markdown.
    """
    lines = ["# Speed on a GPU", ""]
    for hardware in of_kind(records, "hardware")[:1]:
        lines += [
            f"{hardware['date']}, {hardware['devices']} x {hardware['device_kind']}, {hardware['platform_version']}",
            "",
            ", ".join(f"{name} {version}" for name, version in hardware["versions"].items()),
            "",
            f"driver: {hardware['driver']}".replace("\n", "; "),
            "",
        ]
        if hardware["platform"] != "gpu":
            lines += ["No GPU: this was a tiny run, to see whether the suite works. Its numbers mean nothing.", ""]
    lines += ["## Targets (one H100)", "", *target_table(records), ""]
    speeds = list(_speed_rows(records))
    lines += ["## Iterations per second", "", *table(SPEED_HEADING, speeds), ""] if speeds else []
    for title, heading, rows in _measured_rows(records):
        if rows:
            lines += [f"## {title}", "", *table(heading, rows), ""]
    missing = [record for record in records if record.get("error")]
    if missing:
        rows = [[r["stage"], r["kind"], _labels(r), _brief(r["error"])] for r in missing]
        lines += ["## Not measured", "", *table(("stage", "what", "of", "why"), rows), ""]
    rows = [[r["stage"], f"{r['seconds']:.0f}"] for r in records if r["kind"] == "stage"]
    lines += ["## Seconds by stage", "", *table(("stage", "seconds"), rows), ""] if rows else []
    return "\n".join(lines)


def write(out):
    """Writes gpu.md and gpu.json from the results so far.

    Args:
      out: folder of results.

    Returns:
      The Markdown.
    """
    records, out = read(out), pathlib.Path(out)
    text = markdown(records)
    (out / "gpu.md").write_text(text)
    (out / "gpu.json").write_text(json.dumps({"targets": targets(records), "records": records}, indent=1) + "\n")
    return text
