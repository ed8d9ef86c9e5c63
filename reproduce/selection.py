"""What n_init is worth: of every few seeds that `python -m reproduce` has trained, the run that is kept without labels.

python -m reproduce.selection extended --arms=paper,extended --seeds=100-119 --size=4 --scale=cpu --runs=RUNS --out=OUT

Seeds are cut into groups of SIZE in their order. OUT/selection_SCALE.md has for each arm the accuracy of the runs, of
the ones that are chosen, of the best that could have been, and of the consensus of each group.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Int

from mpcc_jax.data import load_dataset
from mpcc_jax.errors import InputError, MPCCError
from mpcc_jax.evaluation.scores import many_to_one_accuracy
from mpcc_jax.evaluation.selection import choose_run, compare_runs, consensus
from mpcc_jax.trained_model import load
from mpcc_jax.workdir import prepare_workdir
from reproduce.__main__ import choose, expand, parse_seeds
from reproduce.markdown import render, spread
from reproduce.runs import Options, plan_runs
from reproduce.tables import SCALES, TABLES, configure

COLUMNS = ("all", "chosen", "best", "consensus")
HEADINGS = [*("arm", "groups", "one run", "chosen", "best by labels", "consensus"), "lowest chosen", "each chosen"]


def score_group(encodings: list, labels: Int[np.ndarray, " N"], num_clusters: int) -> dict[str, list[float]]:
    """Scores one group of runs: all of them, the chosen one, the best one and the consensus, in %."""
    clusters = [encoding.log_membership.argmax(axis=-1) for encoding in encodings]
    accuracies = [100 * many_to_one_accuracy(labels, own) for own in clusters]
    agreed = 100 * many_to_one_accuracy(labels, consensus(clusters, num_clusters)[0])
    chosen = accuracies[choose_run(compare_runs(encodings))]
    return dict(zip(COLUMNS, (accuracies, [chosen], [max(accuracies)], [agreed]), strict=True))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES, metavar="TABLE")
    parser.add_argument("--arms", default="paper,extended")
    parser.add_argument("--rows", "--datasets", dest="rows", help="names with commas; all otherwise")
    parser.add_argument("--seeds", default="100-119", help="which, as 100-119")
    parser.add_argument("--size", type=int, default=4, help="runs of a group")
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--data_dir", help="where TFDS data is")
    parser.add_argument("--runs", type=expand, default="runs/reproduce")
    parser.add_argument("--out", type=expand, default="results")
    given = parser.parse_args(arguments)
    try:
        table, seeds = TABLES[given.table], parse_seeds(given.seeds)
        if given.size < 1 or len(seeds) % given.size:
            raise InputError(f"--size is {given.size}; allowed: a number by which {len(seeds)} seeds can be divided.")
        arms = choose("--arms", given.arms, table.shown)
        options = Options(scale=given.scale, runs=Path(given.runs), data_dir=given.data_dir)
        text = [f"# {table.title}: one of {given.size} runs, chosen without labels", ""]
        names = choose("--rows", given.rows, [row.name for row in table.rows])
        for row in (row for row in table.rows if row.name in names):
            config, lines = configure(row, arms[0], given.scale, data_dir=given.data_dir), []
            dataset = load_dataset(config)
            for arm in arms:
                encodings = [
                    load(run.workdir).encode(dataset.images) for run in plan_runs([row], [arm], seeds, options)
                ]
                groups = [
                    score_group(encodings[first : first + given.size], dataset.labels, config.model.num_clusters)
                    for first in range(0, len(encodings), given.size)
                ]
                columns = {name: list(itertools.chain(*(group[name] for group in groups))) for name in COLUMNS}
                cells = [spread(columns[name]) for name in COLUMNS]
                each = ", ".join(f"{value:.2f}" for value in columns["chosen"])
                lines.append([arm, len(groups), *cells, f"{min(columns['chosen']):.2f}", each])
            text += [f"## {row.label}", "", "Accuracy (Eq. 11), %:", "", *render(HEADINGS, lines), ""]
        path = prepare_workdir(given.out) / f"selection_{given.scale}.md"
        path.write_text("\n".join(text))
        print(f"written: {path}")
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
