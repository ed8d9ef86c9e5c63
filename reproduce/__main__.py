"""Makes a table of the paper again: plans its runs, trains what is missing, measures, and writes the table.

python -m reproduce table4 --scale=cpu --datasets=digits,mnist --data_dir=DIR
python -m reproduce table1 --rows=table1_row1,table1_row5 --variants=paper,released --seeds=3
python -m reproduce study --scale=cpu --datasets=digits --arms=paper,released,paper+upsampling
python -m reproduce table4 --scale=cpu --plan            what is there and what is missing
python -m reproduce table4 --scale=cpu --table_only      the table from what is there

A run is in RUNS/SCALE/ROW/ARM/seedN and can be trained by launch.py too. The same command goes on where it stopped.
Each finished seed has a record in OUT/runs/; OUT/TABLE_SCALE.md and .json are made anew from all records after every
run. Several processes may work at once if each has seeds of its own (--seeds=0,3 and --seeds=1,2,4).
"""

import argparse
import gc
import os
import pathlib
import sys

import jax
from rich.table import Table as Rows

from mpcc_jax.console import Display
from mpcc_jax.errors import ConfigError, DataError, InputError, WeightsError, WorkdirError
from mpcc_jax.evaluation.generation import FEWEST_SAMPLES, NONE, PUBLISHED_SAMPLES
from mpcc_jax.evaluation.inception_weights import VARIABLE, find_weights, read_weights
from mpcc_jax.networks.precision import PRECISIONS
from mpcc_jax.training.train import load
from mpcc_jax.workdir import prepare_workdir
from reproduce.arms import ARMS
from reproduce.catalogue import RUNS, TABLES
from reproduce.errors import ReproduceError
from reproduce.plan import DONE, Options, inspect, plan_runs
from reproduce.records import FAILED
from reproduce.run import STOPPED, Context, Inception, execute
from reproduce.scales import SCALES
from reproduce.write import write_tables

MISTAKES = (ConfigError, DataError, DataError, InputError, ReproduceError, WeightsError, WorkdirError)


def parse_seeds(text):
    """Seeds from the command line.

    Args:
      text: how many, as "5"; or which, with commas, as "0,3" or "3,".

    Returns:
      Integers, rising.

    Raises:
      ReproduceError: if it is neither.
    """
    parts = [part.strip() for part in text.split(",")]
    parts = parts[:-1] if len(parts) > 1 and not parts[-1] else parts
    if not all(part.isdecimal() for part in parts) or text.strip() == "0":
        raise ReproduceError(
            f"--seeds is {text!r}; allowed: how many, as 5 for 0 to 4; or which, as 0,3 (a comma behind one alone: 3,)."
        )
    return sorted(set(map(int, parts))) if "," in text else list(range(int(text)))


def choose(flag, text, allowed):
    """Names from the command line.

    Args:
      flag: that named them.
      text: with commas between, or None for all.
      allowed: names.

    Returns:
      A list, in the order of `allowed`.

    Raises:
      ReproduceError: if one is not allowed.
    """
    names = list(allowed) if text is None else [name.strip() for name in text.split(",")]
    for name in names:
        if name not in allowed:
            raise ReproduceError(f"{flag} has {name!r}; allowed: {', '.join(allowed)}.")
    return [name for name in allowed if name in names]


def make_parser(tables):
    """The command line. Args: tables: by name. Returns an `argparse.ArgumentParser`."""
    parser = argparse.ArgumentParser(
        prog="python -m reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=tables, metavar="TABLE", help=", ".join(tables))
    parser.add_argument("--seeds", default=str(RUNS), help="how many (5 is 0 to 4), or which (0,3)")
    parser.add_argument("--rows", "--datasets", dest="rows", help="names with commas; all otherwise")
    parser.add_argument("--variants", "--arms", dest="arms", help=f"of {', '.join(ARMS)}; of tables 1 to 4: paper")
    parser.add_argument("--scale", choices=SCALES, default="paper", help="cpu: small enough for one, not the paper's")
    parser.add_argument("--precision", choices=PRECISIONS, help="of training; as configured otherwise")
    parser.add_argument("--num_seeds_at_once", type=int, default=1, help="that train in one program")
    parser.add_argument("--data_dir", help="where TFDS data is")
    parser.add_argument("--inception", help="weights for FID and IS, or download, or none; as launch.py otherwise")
    parser.add_argument("--num_samples", type=int, default=PUBLISHED_SAMPLES, help="generated images for FID and IS")
    parser.add_argument("--out", default="results", help="folder of the tables and records")
    parser.add_argument("--runs", default="runs/reproduce", help="folder of the working directories")
    parser.add_argument("--hardware", help="of runs that launch.py trained: what the table says")
    parser.add_argument("--commit", help="of runs that launch.py trained: what the table says")
    parser.add_argument("--plan", action="store_true", help="show what is there and what is missing, and stop")
    parser.add_argument("--table_only", action="store_true", help="write the table from what is there, and stop")
    return parser


def find_inception(table, given, cache_dir, display):
    """The weights that a table needs, before anything expensive.

    Args:
      table: a `Table`.
      given: the command line.
      cache_dir: of the configuration.
      display: a `Display`.

    Returns:
      An `Inception`; None if the table needs none, or none are there.

    Raises:
      WeightsError: if weights were asked for and are not there, or are not the right ones.
      ReproduceError: if there are too few samples.
    """
    if not table.generation or given.inception == NONE:
        return None
    if given.num_samples < FEWEST_SAMPLES:
        raise ReproduceError(f"--num_samples is {given.num_samples}; allowed: {FEWEST_SAMPLES} or more.")
    try:
        path = find_weights(given.inception, cache_dir)
    except WeightsError as error:
        if given.inception or os.environ.get(VARIABLE):
            raise
        display.warn(f"no FID and Inception Score: {error}")
        return None
    read_weights(path)
    return Inception(path, given.num_samples)


def show_plan(display, runs, states):
    """Prints how far all runs have come. Args: display; runs: `PlannedRun`s; states: `State`s."""
    rows = Rows(box=None, padding=(0, 2, 0, 0))
    for heading in ("row", "arm", "seeds", "state", ""):
        rows.add_column(heading, overflow="fold")
    for run, state in zip(runs, states, strict=True):
        rows.add_row(run.row, run.arm, ", ".join(map(str, run.seeds)), state.kind, state.words)
    display.console.print(rows)
    done = sum(state.kind == DONE for state in states)
    display.console.print(
        f"{done} of {len(runs)} runs are finished; working directories are in {runs[0].workdir.parents[2]}"
    )


def work_off(table, runs, options, context, display):
    """Does what is left of all runs, one after the other, and writes the table after each.

    Args:
      table: a `Table`.
      runs: of `PlannedRun`.
      options: `Options`.
      context: a `Context`.
      display: a `Display`.

    Returns:
      Exit status: 1 if a run failed, otherwise 0, even if SIGTERM came and was obeyed.
    """
    # All data first: one set that is missing must not be found out after days.
    datasets, failed = {}, []
    left = [run for run in runs if inspect(run, context.inception is not None).kind != DONE]
    for run in left:
        if run.row not in datasets:
            datasets[run.row], _ = load(run.config, display)
    for index, run in enumerate(left):
        if index:  # the programs of the run before are never called again, and take 300 MB a run
            jax.clear_caches()
            gc.collect()
        display.console.rule(f"{index + 1} of {len(left)}: {run}")
        outcome = execute(run, datasets[run.row], display, context)
        if outcome == STOPPED:
            return 0
        failed += [run] if outcome == FAILED else []
        write_tables(table, options)
    for run in failed:
        display.warn(f"{run} has failed; the same command tries again, from its last checkpoint.")
    return 1 if failed else 0


def reproduce(given, table, display):
    """Does what the command line says.

    Args:
      given: the parsed command line.
      table: a `Table`.
      display: a `Display`.

    Returns:
      Exit status.
    """
    if given.num_seeds_at_once < 1:
        raise ReproduceError(f"--num_seeds_at_once is {given.num_seeds_at_once}; allowed: 1 or more.")
    seeds = parse_seeds(given.seeds)
    rows = choose("--rows", given.rows, {row.name: row for row in table.rows})
    arms = choose("--variants", given.arms, table.shown) if given.arms else list(table.arms)
    runs_folder, out = (pathlib.Path(folder).expanduser() for folder in (given.runs, given.out))
    options = Options(given.scale, runs_folder, out, given.precision, given.data_dir, given.num_seeds_at_once)
    chosen = [row for row in table.rows if row.name in rows]
    if not given.plan:
        prepare_workdir(out)
    if given.table_only:
        display.console.print(f"written: {write_tables(table, options)}", soft_wrap=True)
        return 0
    runs = plan_runs(chosen, arms, seeds, options)
    inception = find_inception(table, given, runs[0].config.data.cache_dir, display)
    states = [inspect(run, inception is not None) for run in runs]
    show_plan(display, runs, states)
    if given.plan:
        return 0
    status = work_off(table, runs, options, Context(inception, given.hardware, given.commit), display)
    display.console.print(f"written: {write_tables(table, options)}", soft_wrap=True)
    return status


def main(arguments=None, tables=TABLES, display=None):
    """Runs the command line; mistakes of the user end in one line.

    Args:
      arguments: texts; None is the command line's.
      tables: `Table`s by name.
      display: a `Display`; None makes one.
    """
    given = make_parser(tables).parse_args(arguments)
    try:
        status = reproduce(given, tables[given.table], display or Display())
    except MISTAKES as error:
        sys.exit(f"error: {error}")
    sys.exit(status)


if __name__ == "__main__":
    main()
