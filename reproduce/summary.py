"""What the records of a table amount to, as plain data: ours, the paper's, and the difference."""

from reproduce.catalogue import MEASURES, RUNS
from reproduce.plan import configure
from reproduce.records import FINISHED, read_records
from reproduce.statistics import best_of, spread

NOT_RUN = "not run"
NO_WEIGHTS = "not measured (no Inception weights)"
NOT_MEASURED = "not measured"
OTHER_QUANTITY = "of another quantity"
COMPARED_SCORES = ("accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ari")


def value_of(record, score):
    """A score of a run.

    Args:
      record: of a finished run.
      score: its name.

    Returns:
      A number, or None if it was not measured.
    """
    generation = record.get("generation") or {}
    if score == "fid":
        return generation.get("fid")
    if score == "inception_score":
        return generation.get("inception_score", {}).get("mean")
    return record["scores"].get(score)


def _missing(records, score):
    """Why there is no figure."""
    if not records:
        return NOT_RUN
    return NO_WEIGHTS if score in ("fid", "inception_score") else NOT_MEASURED


def summarize_measure(records, name, published=None):
    """One measure over the runs of a row.

    Args:
      records: of finished runs.
      name: one of `MEASURES`.
      published: the `Published` figure, or None.

    Returns:
      A dictionary: measure, heading, n, seeds, values, mean and sd in the measure's unit or "missing" in their place,
      published, and the difference of the means (None if one of them is missing or of another quantity).
    """
    measure = MEASURES[name]
    given = [(record, value_of(record, measure.score)) for record in records]
    given = [(record, value * measure.factor) for record, value in given if value is not None]
    values = [value for _, value in given]
    line = {
        "measure": name,
        "heading": measure.heading,
        "n": len(values),
        "seeds": [record["seed"] for record, _ in given],
        "values": values,
        "published": published and published._asdict(),
        "difference": None,
    }
    if not values:
        return {**line, "missing": _missing(records, measure.score)}
    if measure.best and len(values) != RUNS:
        return {**line, "missing": f"needs {RUNS} seeds, has {len(values)}"}
    figure = spread(best_of(values, values, measure.best) if measure.best else values)
    line |= {"mean": figure.mean, "sd": figure.sd}
    if published:
        line["difference"] = figure.mean - published.mean if measure.comparable else OTHER_QUANTITY
    return line


def summarize_scores(records):
    """The scores that our runs share with the baselines.

    Args:
      records: with "scores" each.

    Returns:
      By name, mean, sd and n; of those that all have.
    """
    names = [name for name in COMPARED_SCORES if all(name in record["scores"] for record in records)]
    return {name: spread([record["scores"][name] for record in records])._asdict() for name in names if records}


def describe_runs(records):
    """What the figures of a row have to be read with.

    Args:
      records: of finished runs of one row and arm.

    Returns:
      A dictionary of lists without repetition, hours per seed, and accuracies by seed.
    """

    def different(values):
        return [*dict.fromkeys(value for value in values if value is not None)]

    versions = [record["versions"] or {} for record in records]
    seconds = [record["seconds"] and record["seconds"] / record["seeds_at_once"] for record in records]
    return {
        "seeds": [record["seed"] for record in records],
        "accuracies": [value_of(record, "accuracy_many_to_one") for record in records],
        "variant": records[0]["variant"],
        "precision": different(record["precision"] for record in records),
        "hardware": different(name for record in records for name in record["hardware"]),
        "commit": different(name for record in records for name in record["commit"]),
        "versions": different(", ".join(f"{name} {one}" for name, one in some.items()) for some in versions),
        "dates": sorted(different(record["date"] for record in records)),
        "hours": [value and value / 3600 for value in seconds],
        "resumed": [record["seed"] for record in records if record["resumed"]],
        "iterations": different(record["iterations"] for record in records),
        "samples": different(
            record["generation"]["protocol"]["num_samples"] for record in records if record["generation"]
        ),
        "scored_on": different(
            f"{record['evaluated_images']} of {record['data']['count']} images" for record in records
        ),
    }


def gather(table, options):
    """The records of a table, of every row and arm that it has a place for.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      Triples (row, arm, records of all runs, failed ones too); and sentences about what was left out.
    """
    found, left_out = [], []
    for row in table.rows:
        for arm in table.shown:
            config = configure(row, arm, options)
            records, others = read_records(options.records, options.scale, row.name, arm, config)
            found.append((row, arm, records))
            left_out += others
    return found, left_out


def finished(records):
    """Args: records. Returns those of finished runs."""
    return [record for record in records if record["status"] == FINISHED]


def describe_failures(found):
    """The runs that failed.

    Args:
      found: from `gather`.

    Returns:
      Sentences.
    """
    return [
        f"{row.label}, {arm}, seed {record['seed']}: {record['reason']}"
        for row, arm, records in found
        for record in records
        if record["status"] != FINISHED
    ]


def describe_found(found, left_out):
    """What every table says under its figures.

    Args:
      found, left_out: from `gather`.

    Returns:
      A dictionary that JSON can hold: "runs", "failed" and "left_out".
    """
    return {
        "runs": [
            {"row": row.name, "label": row.label, "arm": arm, **describe_runs(finished(records))}
            for row, arm, records in found
            if finished(records)
        ],
        "failed": describe_failures(found),
        "left_out": left_out,
    }


def summarize_table(table, options):
    """All that a table of the paper shows.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      A dictionary that JSON can hold.
    """
    found, left_out = gather(table, options)
    return {
        "lines": [
            {"row": row.name, "label": row.label, "arm": arm}
            | summarize_measure(finished(records), name, row.published.get(name))
            for row, arm, records in found
            for name in table.measures
            # AIM has no clusters, so no accuracy.
            if not row.published or name in row.published
        ],
        **describe_found(found, left_out),
    }
