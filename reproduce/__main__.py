"""Makes a table of the paper again: trains what is missing, measures and records it, and writes the table.

python -m reproduce table4 --scale=cpu --datasets=digits,mnist --data_dir=DIR
python -m reproduce table1 --rows=table1_row1,table1_row5 --variants=paper,released --seeds=3
python -m reproduce study --scale=cpu --datasets=digits --arms=paper,released,paper+upsampling
python -m reproduce table4 --scale=cpu --plan            what is there and what is missing
python -m reproduce table4 --scale=cpu --table_only      the table from what is there

A run is in RUNS/SCALE/ROW/ARM/seedN and can be trained by launch.py too. The same command goes on where it stopped.
Each finished seed has a record in OUT/runs/; OUT/TABLE_SCALE.md is made from all records after every run. Several
processes may work at once if each has seeds of its own (--seeds=0,3 and --seeds=1,2,4). One process trains as many
seeds at once as there are devices, in RUNS/SCALE/ROW/ARM/seedsA-B, and makes each a run.
"""

import argparse
import dataclasses
import gc
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import jax

from mpcc_jax.compilation import leave_loops_rolled
from mpcc_jax.data import load_dataset
from mpcc_jax.errors import InputError, MPCCError, WeightsError
from mpcc_jax.evaluation.generation import FEWEST_SAMPLES, NONE, PUBLISHED_SAMPLES
from mpcc_jax.evaluation.inception_weights import VARIABLE, find_weights
from mpcc_jax.workdir import prepare_workdir
from reproduce.baselines import baselines_path
from reproduce.markdown import render_page
from reproduce.runs import FAILED, FINISHED, STOPPED, Options, Run, execute, plan_runs, read_json, read_records
from reproduce.tables import ARMS, BEST_OF, SCALES, TABLES, Table, configure


def expand(path: str) -> Path:
    """Reads a path of the command line."""
    return Path(path).expanduser()


def warn(sentence: str) -> None:
    """Prints a warning."""
    print(f"warning: {sentence}", file=sys.stderr)


def parse_seeds(text: str) -> list[int]:
    """Reads "5" as how many seeds, "0,3" and "3," and "10-19" as which."""
    if found := re.fullmatch(r"(\d+)-(\d+)", text.strip()):
        first, last = map(int, found.groups())
        if first <= last:
            return list(range(first, last + 1))
    if not re.fullmatch(r"0*[1-9]\d*|\d+(,\d+)*,|\d+(,\d+)+", text.replace(" ", "")):
        raise InputError(
            f"--seeds is {text!r}; allowed: how many, as 5 for 0 to 4; or which, as 10-19 or 0,3 (3, for one alone)."
        )
    return sorted({int(part) for part in text.split(",") if part.strip()}) if "," in text else list(range(int(text)))


def choose(flag: str, text: str | None, allowed: Iterable[str]) -> list[str]:
    """Reads names with commas between, all if there is no text; in the order of those that are allowed."""
    allowed = list(allowed)
    names = allowed if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise InputError(f"{flag} has {name!r}; allowed: {', '.join(allowed)}.")
    return [name for name in allowed if name in names]


def make_parser() -> argparse.ArgumentParser:
    """Makes the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    parser.add_argument("--seeds", default=str(BEST_OF), help="how many (5 is 0 to 4), or which (0,3 or 10-19)")
    parser.add_argument("--rows", "--datasets", dest="rows", help="names with commas; all otherwise")
    parser.add_argument("--variants", "--arms", dest="arms", help=f"of {', '.join(ARMS)}; of tables 1 to 4: paper")
    parser.add_argument("--scale", choices=SCALES, default="paper", help="cpu: small enough for one, not the paper's")
    parser.add_argument("--precision", help="of training; as configured otherwise")
    parser.add_argument("--data_dir", help="where TFDS data is")
    parser.add_argument("--inception", help="weights for FID and IS, or download, or none; as launch.py otherwise")
    parser.add_argument("--num_samples", type=int, default=PUBLISHED_SAMPLES, help="generated images for FID and IS")
    parser.add_argument("--out", type=expand, default="results", help="folder of the tables and records")
    parser.add_argument("--runs", type=expand, default="runs/reproduce", help="folder of the working directories")
    parser.add_argument("--plan", action="store_true", help="show what is there and what is missing, and stop")
    parser.add_argument("--table_only", action="store_true", help="write the table from what is there, and stop")
    return parser


def find_inception(given: argparse.Namespace, table: Table) -> Path | None:
    """Finds the weights for FID before anything is trained; None if the table needs none or none are there."""
    if "fid" not in table.measures or given.inception == NONE:
        return None
    if given.num_samples < FEWEST_SAMPLES:
        raise InputError(f"--num_samples is {given.num_samples}; allowed: {FEWEST_SAMPLES} or more.")
    try:
        return find_weights(given.inception)
    except WeightsError as error:
        if given.inception or os.environ.get(VARIABLE):
            raise
        warn(f"no FID and Inception Score: {error}")
        return None


def write_table(table: Table, options: Options) -> Path:
    """Writes TABLE_SCALE.md from the records and baselines that there are."""
    baselines = {}
    for row in table.rows:
        data = configure(row, "paper", options.scale).data
        baselines[row.name] = read_json(baselines_path(options.out, data.name, data.resolution)) or []
    path = options.out / f"{table.name}_{options.scale}.md"
    path.write_text(render_page(table, options.scale, *read_records(table, options), baselines))
    return path


def execute_all(table: Table, runs: list[Run], options: Options) -> int:
    """Does what is left of all runs and writes the table after each; returns the exit status, 1 if a run failed."""
    left = [run for run in runs if run.describe_progress() != FINISHED]
    # All data first: a data set that is missing must not be found out after days.
    datasets = {}
    for run in left:
        if run.row.name not in datasets:
            datasets[run.row.name] = load_dataset(run.config)
    failed = []
    for index, run in enumerate(left):
        print(f"\n{index + 1} of {len(left)}: {run}")
        outcome = execute(run, left[index:], datasets[run.row.name], warn)
        if outcome == STOPPED:
            return 0
        failed += [run] if outcome == FAILED else []
        write_table(table, options)
        # The programs of this run are never called again, and take 300 MB.
        jax.clear_caches()
        gc.collect()
    for run in failed:
        warn(f"{run} has failed; the same command tries again, from its last checkpoint.")
    return 1 if failed else 0


def reproduce(given: argparse.Namespace) -> int:
    """Does what the command line says; returns the exit status."""
    table = TABLES[given.table]
    seeds = parse_seeds(given.seeds)
    names = choose("--rows", given.rows, [row.name for row in table.rows])
    arms = choose("--variants", given.arms, table.shown) if given.arms else table.arms
    given.inception = None if given.table_only else find_inception(given, table)
    options = Options(**{field.name: getattr(given, field.name) for field in dataclasses.fields(Options)})
    status = 0
    if not given.table_only:
        runs = plan_runs([row for row in table.rows if row.name in names], arms, seeds, options)
        progress = [run.describe_progress() for run in runs]
        print(*(f"{run}: {state}" for run, state in zip(runs, progress, strict=True)), sep="\n")
        print(f"{progress.count(FINISHED)} of {len(runs)} runs are finished; working directories are in {options.runs}")
        if given.plan:
            return 0
        prepare_workdir(options.out / "runs")
        status = execute_all(table, runs, options)
    prepare_workdir(options.out)
    print(f"written: {write_table(table, options)}")
    return status


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    given = make_parser().parse_args(arguments)
    leave_loops_rolled()
    try:
        sys.exit(reproduce(given))
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
