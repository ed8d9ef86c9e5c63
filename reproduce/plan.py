"""Which runs a table needs, where they are, and how far they have come."""

import dataclasses
import pathlib
import time
from typing import NamedTuple

from mpcc_jax.config import load_config, validate
from mpcc_jax.training.checkpoints import find_checkpoints
from mpcc_jax.workdir import differing_fields, settings_of
from reproduce.arms import set_arm
from reproduce.errors import ReproduceError
from reproduce.records import FAILED, FINISHED, read_json, record_path
from reproduce.scales import find_scale

# How far a run has come, in this order.
DONE, TRAINED, HALF_DONE, NEW = "finished", "trained, to be measured", "half done", "not begun"


class Options(NamedTuple):
    """What the command line says about all runs.

    Attributes:
      scale: one of `reproduce.scales.SCALES`.
      runs: `pathlib.Path` of the working directories.
      out: `pathlib.Path` of the tables.
      precision: of training; None is the configuration's.
      data_dir: where TFDS data is; None is the configuration's.
      seeds_at_once: how many seeds train in one program.
    """

    scale: str
    runs: pathlib.Path
    out: pathlib.Path
    precision: str | None = None
    data_dir: str | None = None
    seeds_at_once: int = 1

    @property
    def records(self):
        """`pathlib.Path` of the records of all runs."""
        return self.out / "runs"


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One training: of one seed, or of several at once.

    Attributes:
      scale, row, arm: names.
      seeds: that it trains.
      config: the configuration.
      workdir: `pathlib.Path`.
      records: `pathlib.Path` of all records.
    """

    scale: str
    row: str
    arm: str
    seeds: tuple
    config: object
    workdir: pathlib.Path
    records: pathlib.Path

    def __str__(self):
        several = f"seeds {self.seeds[0]} to {self.seeds[-1]}" if len(self.seeds) > 1 else f"seed {self.seeds[0]}"
        return f"{self.row}, {self.arm}, {several}"

    def record_path(self, seed):
        """Where the record of a seed is. Args: seed. Returns `pathlib.Path`."""
        return record_path(self.records, self.scale, self.row, self.arm, seed)


def configure(row, arm, options, seeds=(0,)):
    """The configuration of a run: the row's, then the scale's, then the arm, the precision and the seeds.

    Args:
      row: a `Row`.
      arm: one of `reproduce.arms.ARMS`.
      options: `Options`.
      seeds: that it trains, in a row.

    Returns:
      The configuration.

    Raises:
      ConfigError, ReproduceError: if it cannot work.
    """
    config = load_config(row.config)
    for name, value in find_scale(options.scale, config.data.name).fields.items():
        *parents, field = name.split(".")
        part = config
        for parent in parents:
            part = part[parent]
        part[field] = value
    set_arm(config, arm)
    config.training.precision = options.precision or config.training.precision
    config.data.dir = options.data_dir or config.data.dir
    config.seed, config.num_seeds = seeds[0], len(seeds)
    validate(config)
    return config


def plan_runs(rows, arms, seeds, options):
    """All runs of some rows: the first seeds of all of them first.

    Args:
      rows: of `Row`.
      arms: names.
      seeds: integers, rising.
      options: `Options`.

    Returns:
      A list of `PlannedRun`.
    """
    groups = _group(seeds, options.seeds_at_once)
    return [run for group in groups for row in rows for arm in arms for run in _plan_group(row, arm, group, options)]


def _group(seeds, size):
    """Seeds in a row, at most so many together."""
    groups = []
    for seed in seeds:
        if groups and len(groups[-1]) < size and groups[-1][-1] + 1 == seed:
            groups[-1].append(seed)
        else:
            groups.append([seed])
    return groups


def _plan_group(row, arm, seeds, options):
    """One run for all seeds, unless some of them have been begun alone."""
    folder = options.runs / options.scale / row.name / arm
    together = folder / f"seeds{seeds[0]}to{seeds[-1]}"
    alone = [(seed,) for seed in seeds]

    def begun(seed):
        return (folder / f"seed{seed}").exists() or record_path(
            options.records, options.scale, row.name, arm, seed
        ).exists()

    split = len(seeds) == 1 or (not together.exists() and any(map(begun, seeds)))
    return [
        PlannedRun(
            options.scale,
            row.name,
            arm,
            members,
            configure(row, arm, options, members),
            folder / f"seed{members[0]}" if len(members) == 1 else together,
            options.records,
        )
        for members in (alone if split else [tuple(seeds)])
    ]


class State(NamedTuple):
    """How far a run has come.

    Attributes:
      kind: one of `DONE`, `TRAINED`, `HALF_DONE`, `NEW`.
      words: what a person should know.
    """

    kind: str
    words: str = ""


def read_results(run):
    """What a run has written at its end.

    Args:
      run: a `PlannedRun`.

    Returns:
      The content of results.json; None before the last iteration.
    """
    results = read_json(run.workdir / "results.json")
    return results if results and results["iterations"] == run.config.training.iterations else None


def inspect(run, generation=False):
    """How far a run has come.

    Args:
      run: a `PlannedRun`.
      generation: whether FID and the like belong to it.

    Returns:
      A `State`.

    Raises:
      ReproduceError: if there is a run or record of another configuration in its place.
    """
    now = settings_of(run.config)
    records = [read_json(run.record_path(seed)) for seed in run.seeds]
    for seed, record in zip(run.seeds, records, strict=True):
        fields = [] if record is None else differing_fields(record["settings"], now, but=("seed", "num_seeds"))
        if fields:
            _refuse(run.record_path(seed), fields, "--out")
    reasons = {record["reason"] for record in records if record and record["status"] == FAILED}
    found, results = find_checkpoints(run.workdir), read_results(run)
    if found or results:
        fields = differing_fields(read_json(run.workdir / "config.json") or {}, now)
        if fields:
            _refuse(run.workdir, fields, "--runs")
    done = all(record and record["status"] == FINISHED for record in records)
    measured = all(record and record.get("generation") for record in records)
    if done and (measured or not generation or not found):
        return State(DONE)
    words = [f"failed before: {reason}" for reason in sorted(reasons)]
    if results:
        return State(TRAINED, "; ".join(words))
    if found:
        progress = f"{max(found)} of {run.config.training.iterations} iterations"
        return State(HALF_DONE, "; ".join([progress, *_last_written(run.workdir), *words]))
    return State(NEW, "; ".join([*_last_written(run.workdir), *words]))


def _last_written(workdir):
    """The run may be going on elsewhere: a person has to know."""
    paths = [path for path in (workdir / "config.json", workdir / "metrics.jsonl") if path.exists()]
    if not paths:
        return []
    minutes = (time.time() - max(path.stat().st_mtime for path in paths)) / 60
    return [f"written {minutes:.0f} minutes ago"]


def _refuse(path, fields, flag):
    raise ReproduceError(
        f"{path} is of another configuration than the planned one: {'; '.join(fields)}. Move it away, or choose "
        f"another {flag}."
    )
