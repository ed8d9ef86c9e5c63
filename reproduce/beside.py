"""Our clustering beside classical methods on the same images."""

from mpcc_jax.data.cache import file_name
from reproduce import baselines
from reproduce.plan import configure
from reproduce.summary import COMPARED_SCORES, finished, gather, summarize_scores

HEADINGS = dict(zip(COMPARED_SCORES, ("many to one (Eq. 11)", "one to one", "NMI", "ARI"), strict=True))


def compare_with_baselines(table, options):
    """Scores of our runs, and of the baselines of the same data set and resolution.

    Args:
      table: a `Table`.
      options: `Options`; baselines are in its folder of tables.

    Returns:
      A list of dictionaries: label, method, images, n, and mean, sd and n by score; of what was run.
    """
    lines = []
    ours = {(row.name, arm): finished(records) for row, arm, records in gather(table, options)[0]}
    for row in table.rows:
        data = configure(row, table.shown[0], options).data
        for arm in table.shown:
            records = ours[row.name, arm]
            if records:
                images = records[0]["evaluated_images"]
                lines.append(_line(row.label, f"MPCC, {arm}", images, records))
        name = file_name(f"{data.name}_{data.resolution}")
        records = baselines.read_records(options.out / "baselines" / f"{name}.json")
        for title in dict.fromkeys(record["title"] for record in records):
            chosen = [record for record in records if record["title"] == title]
            lines.append(_line(row.label, title, chosen[0]["count"], chosen))
    return lines


def _line(label, method, images, records):
    scores = summarize_scores(records)
    return {"label": label, "method": method, "images": images, "n": len(records), "scores": scores}
