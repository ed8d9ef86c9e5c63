"""The plan over rows, arms and seeds: what is finished is skipped, the rest is trained, measured and recorded."""

import contextlib
import dataclasses
import itertools
import json
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.config import default_config, settings_of
from mpcc_jax.data import Dataset
from mpcc_jax.errors import CheckpointError, NonFiniteError, WorkdirError
from mpcc_jax.evaluation.generation import measure, plan_measurement
from mpcc_jax.trained_model import TrainedModel, load
from mpcc_jax.training.export import export_seed
from mpcc_jax.training.train import train
from mpcc_jax.workdir import INCIDENTAL, flatten, write_json
from reproduce.tables import Row, Table, configure

FINISHED, FAILED, STOPPED = "finished", "failed", "stopped"
# Numbers in results.json that are no scores.
FACTS = ("iteration", "iterations", "seed", "resumed_at", "training_seconds", "best_checkpoint", "evaluated_images")
ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Options:
    """What the command line says about all runs.

    Attributes:
      runs, out: folders of the working directories; of tables and records.
      inception: path of the weights for FID and Inception Score; None measures neither.
    """

    scale: str = "paper"
    runs: Path = Path("runs/reproduce")
    out: Path = Path("results")
    precision: str | None = None
    data_dir: str | None = None
    inception: Path | None = None
    num_samples: int = 50_000


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of a row and arm: its configuration, its working directory and its record."""

    row: Row
    arm: str
    seed: int
    options: Options

    def __str__(self) -> str:
        return f"{self.row.name}, {self.arm}, seed {self.seed}"

    @cached_property
    def config(self) -> ConfigDict:
        """The configuration; ConfigError if it cannot work."""
        fields = {"precision": self.options.precision, "data_dir": self.options.data_dir}
        return configure(self.row, self.arm, self.options.scale, self.seed, **fields)

    @property
    def workdir(self) -> Path:
        """Where the run is trained."""
        return self.options.runs / self.options.scale / self.row.name / self.arm / f"seed{self.seed}"

    @property
    def record_path(self) -> Path:
        """Where its record is."""
        name = f"{self.options.scale}_{self.row.name}_{self.arm}_seed{self.seed}.json"
        return self.options.out / "runs" / name

    def read_record(self) -> dict | None:
        """Reads the record; WorkdirError if it is of another configuration."""
        record = read_json(self.record_path)
        fields = differences(record, self.config) if record else []
        if fields:
            raise WorkdirError(
                f"{self.record_path} is of another configuration: {'; '.join(fields)}. Move it away, or choose another "
                "--out."
            )
        return record

    def lacks_generation(self, record: dict) -> bool:
        """Whether FID can still be measured: it is wanted, and the working directory is there."""
        return bool(self.options.inception and not record["generation"] and self.workdir.exists())

    def describe_progress(self) -> str:
        """Says how far the run has come; "finished" if nothing is left to do."""
        record = self.read_record()
        if record and record["status"] == FINISHED:
            return "to be measured" if self.lacks_generation(record) else FINISHED
        iterations = [int(path.name) for path in self.workdir.glob("checkpoints/*") if path.name.isdecimal()]
        progress = f"{max(iterations)} of {self.config.training.iterations} iterations" if iterations else "not begun"
        return f"{progress}; failed before: {record['reason']}" if record else progress


def read_json(path: Path) -> dict | list | None:
    """Reads a file of JSON; None if there is none, WorkdirError if it is damaged."""
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except (OSError, ValueError) as error:
        raise WorkdirError(f"{path} cannot be read ({error}). Move it away, and it is made again.") from error


def differences(record: dict, config: ConfigDict) -> list[str]:
    """Lists the fields in which the configuration of a record computes something else than another."""
    # A field that is newer than the record has its default: that is what the run did.
    before, now = (
        {**flatten(settings_of(default_config())), **flatten(record["settings"])},
        flatten(settings_of(config)),
    )
    return [
        f"config.{field} was {before[field]!r} and is {value!r}"
        for field, value in now.items()
        if before[field] != value and field not in ("seed", "num_seeds") and not field.startswith(INCIDENTAL)
    ]


def read_records(table: Table, options: Options) -> tuple[dict[tuple[str, str], list[dict]], list[str], list[str]]:
    """Reads the records of a table: of finished runs by row and arm; sentences about failed runs and those left out."""
    runs = [Run(row, arm, 0, options) for row in table.rows for arm in table.shown]
    records, failed, left_out = {(run.row.name, run.arm): [] for run in runs}, [], []
    for run in runs:
        for path in sorted(run.record_path.parent.glob(run.record_path.name.replace("seed0.", "seed*."))):
            record = read_json(path)
            fields = differences(record, run.config)
            if fields:
                left_out.append(f"{path.name} is of another configuration: {'; '.join(fields)}")
            elif record["status"] == FAILED:
                failed.append(f"{run.row.label}, {run.arm}, seed {record['seed']}: {record['reason']}")
            else:
                records[run.row.name, run.arm].append(record)
        records[run.row.name, run.arm].sort(key=lambda record: record["seed"])
    return records, failed, left_out


def plan_runs(rows: Iterable[Row], arms: Iterable[str], seeds: Iterable[int], options: Options) -> list[Run]:
    """Plans all runs of some rows: the first seed of all rows comes first."""
    return [Run(row, arm, seed, options) for seed in seeds for row in rows for arm in arms]


def seeds_together(run: Run, planned: Iterable[Run]) -> range:
    """The seeds that train at once with a run that has not begun: those that follow, as many as there are devices.

    Seeds that have begun together stay together, on any number of devices.
    """
    folder = run.workdir.parent
    for path in folder.glob("seeds*"):
        found = re.fullmatch(r"seeds(\d+)-(\d+)", path.name)
        if found and int(found[1]) <= run.seed <= int(found[2]):
            return range(int(found[1]), int(found[2]) + 1)
    new = {other.seed for other in planned if other.workdir.parent == folder and not other.workdir.exists()}
    count = run.config.mesh.devices or len(jax.devices())
    following = itertools.takewhile(new.__contains__, range(run.seed, run.seed + count))
    return range(run.seed, run.seed + len(list(following)))


def train_together(run: Run, seeds: range, dataset: Dataset) -> bool:
    """Trains several seeds of a row and arm at once, and makes each a run with a record; False if stopped before."""
    members = [dataclasses.replace(run, seed=seed) for seed in seeds]
    config = members[0].config.copy_and_resolve_references()
    config.num_seeds = len(seeds)
    workdir = run.workdir.with_name(f"seeds{seeds[0]}-{seeds[-1]}")
    if train(config, workdir, dataset=dataset) is None:
        return False
    for member in members:
        if not member.workdir.exists():
            part = member.workdir.with_name(f"{member.workdir.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            export_seed(workdir, member.seed, part)
            part.rename(member.workdir)
            results = read_json(member.workdir / "results.json")
            write_json(member.record_path, describe_run(member) | describe_results(member, results, dataset, False))
    return True


def execute(run: Run, planned: Iterable[Run], dataset: Dataset, warn: Callable[[str], None]) -> str:
    """Trains or measures what is left of a run, writes its record, and returns "finished", "failed" or "stopped".

    Others of the planned runs train with it where there are devices for them.
    """
    if not run.workdir.exists() and len(seeds := seeds_together(run, planned)) > 1:
        try:
            if not train_together(run, seeds, dataset):
                return STOPPED
        except (CheckpointError, NonFiniteError) as error:
            warn(f"{run}, with {len(seeds) - 1} more: {error} Each is trained alone.")
            for seed in seeds:
                dataclasses.replace(run, seed=seed).workdir.mkdir(parents=True, exist_ok=True)
    record, outcome = run.read_record(), FINISHED
    try:
        if not record or record["status"] != FINISHED:
            trained_elsewhere = (run.workdir / "results.json").exists()
            results = train(run.config, run.workdir, dataset=dataset)
            if results is None:
                return STOPPED
            record = describe_run(run) | describe_results(run, results, dataset, trained_elsewhere)
        if run.lacks_generation(record):
            record["generation"] = measure_generation(load(run.workdir, record["iterations"]), dataset, run, warn)
    except (CheckpointError, NonFiniteError) as error:
        warn(f"{run} has failed: {error}")
        outcome = FAILED
        if not record or record["status"] != FINISHED:  # what is known is kept if only FID cannot be measured
            record = {"status": FAILED, "reason": str(error), **describe_run(run)}
    write_json(run.record_path, record)
    return outcome


def measure_generation(trained: TrainedModel, dataset: Dataset, run: Run, warn: Callable[[str], None]) -> dict:
    """Measures FID and Inception Score."""

    @contextlib.contextmanager
    def progress(words):
        print(words)
        yield lambda done, total: None

    options = {"inception": run.options.inception, "num_samples": run.options.num_samples}
    return measure(plan_measurement(trained, warn, **options), trained, dataset, warn, progress)


def describe_run(run: Run) -> dict:
    """What is known of a run before it begins."""
    return {
        "scale": run.options.scale,
        "row": run.row.name,
        "arm": run.arm,
        "seed": run.seed,
        "variant": run.config.variant,
        "precision": run.config.training.precision,
        "workdir": str(run.workdir),
        "settings": settings_of(run.config),
    }


def describe_results(run: Run, results: dict, dataset: Dataset, trained_elsewhere: bool) -> dict:
    """The finite scores of a run, and where and how long it was trained."""
    numbers = {name: value for name, value in results.items() if isinstance(value, int | float) and name not in FACTS}
    scores = {name: value for name, value in numbers.items() if math.isfinite(value)}
    return {
        "status": FINISHED,
        "iterations": results["iterations"],
        "data": {**results["data"], "count": len(dataset.images), "shape": list(dataset.images.shape[1:])},
        "evaluated_images": results["evaluated_images"],
        "scores": {**scores, "cluster_sizes": results["cluster_sizes"]},
        "generation": None,
        "hardware": [results["machine"] if trained_elsewhere else describe_hardware()],
        "commit": ["not known" if trained_elsewhere else read_commit()],
        "versions": results["versions"],
        "seconds": training_seconds(results, run.workdir / "metrics.jsonl"),
        "resumed": bool(results["resumed_at"]),
        "seeds_at_once": results.get("num_seeds", 1),  # none in those of older runs
        "date": results["date"],
    }


def training_seconds(results: dict, log: Path) -> float | None:
    """How long a run trained: of one that was interrupted the sum over its log, None if the log does not tell."""
    if not results["resumed_at"]:
        return results["training_seconds"]
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    rates = {line["iteration"]: line["iterations_per_second"] for line in lines if line.get("iterations_per_second")}
    if results["iterations"] not in rates:
        return None
    return float(np.sum(np.diff([*rates], prepend=0) / [*rates.values()]))


def processor_name() -> str:
    """Returns the name of the processor, as the system knows it."""
    facts = Path("/proc/cpuinfo")
    name = re.search(r"model name\s*: (.*)", facts.read_text()) if facts.exists() else None
    return name[1] if name else platform.processor() or platform.machine()


def describe_hardware() -> str:
    """Says what this process computes on: accelerators, or cores of a processor."""
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    return f"{os.cpu_count()} cores of {processor_name()}"


def read_commit(root: Path = ROOT) -> str:
    """Reads the commit of a checkout, with "+changes" where the program differs from it."""

    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changes = git("status", "--porcelain", "--", "mpcc_jax", "configs", "launch.py").strip()
        return git("rev-parse", "--short", "HEAD").strip() + ("+changes" if changes else "")
    except (OSError, subprocess.CalledProcessError):
        return "not known"
