"""The study of conventions: the paper's variant, the released code's, and single differences, on the same data."""

from reproduce.statistics import spread, welch
from reproduce.summary import describe_found, finished, gather, value_of

BASE = "paper"
# Score, heading and factor.
SCORES = (
    ("accuracy_many_to_one", "accuracy (Eq. 11), %", 100.0),
    ("nmi", "NMI", 1.0),
    ("ari", "ARI", 1.0),
    ("reconstruction_mse", "reconstruction MSE", 1.0),
)
COMPARED = "accuracy_many_to_one"


def summarize_arm(records, base):
    """One arm over its seeds, and its distance from the paper's variant.

    Args:
      records: of finished runs of the arm.
      base: of finished runs of the paper's variant on the same data; None for that variant itself.

    Returns:
      A dictionary: n, seeds, scores (mean, sd, n and values by name), and the difference in points of accuracy, a
      `Difference` as a dictionary or None.
    """
    scores = {}
    for name, _, factor in SCORES:
        values = [value_of(record, name) for record in records]
        values = [factor * value for value in values if value is not None]
        if values:
            scores[name] = {**spread(values)._asdict(), "values": values}
    others = [100 * value_of(record, COMPARED) for record in base or ()]
    difference = welch(scores[COMPARED]["values"], others)._asdict() if others and COMPARED in scores else None
    seeds = [record["seed"] for record in records]
    return {"n": len(records), "seeds": seeds, "scores": scores, "difference": difference}


def summarize_study(table, options):
    """All that the study shows.

    Args:
      table: a `Table`.
      options: `Options`.

    Returns:
      A dictionary that JSON can hold.
    """
    found, left_out = gather(table, options)
    base = {row.name: finished(records) for row, arm, records in found if arm == BASE}
    return {
        "lines": [
            {"row": row.name, "label": row.label, "arm": arm}
            | summarize_arm(finished(records), None if arm == BASE else base[row.name])
            for row, arm, records in found
        ],
        **describe_found(found, left_out),
    }
