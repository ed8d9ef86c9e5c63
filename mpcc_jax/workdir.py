"""The folder of a run: its files, written whole or not at all, and the configuration and results that it belongs to."""

import contextlib
import importlib.metadata
import json
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import jax
from flax.traverse_util import unflatten_dict
from ml_collections import ConfigDict

from mpcc_jax.config import default_config, flatten, settings_of, validate
from mpcc_jax.errors import ConfigError, DataError, WorkdirError

# Trained models that come with the package, each as `mpcc export-model` writes it.
PRETRAINED = Path(__file__).parent / "pretrained"
MODEL_FILE = "weights.safetensors"
# Of the files of a run; higher when an older version cannot read them any more. In data.json.
FORMAT = 1

# The labels of a warm start.
WARM_LABELS = "warm_labels.npy"
# What a run writes, besides config.json.
OUTPUTS = (
    *("checkpoints", "data.json", "data.png", "metrics.jsonl", "results.json", "tensorboard", "clusters.png"),
    *("reconstructions.png", "report.html", "report", WARM_LABELS),
)
LOCK = ".lock"
# Facts of the data that a run goes on with; others, such as where it lies, may change.
DATA_FIELDS = ("name", "version", "split", "shape", "count", "range")
# What may change from one start to the next: it does not change what is computed.
INCIDENTAL = (
    "mesh.",
    "logging.",
    "alarms.",
    "checkpoints.",
    "evaluation.",
    "speed.",
    "data.dir",
    "data.cache",
    "data.threads",
    "data.placement",
)
# Fields of older versions that say nothing with these values.
REMOVED = {"data.crop_padding": 0, "data.flip": False, "prior.kind": "gaussian_mixture"}
OWN_FIELDS = {"variant", "seed", "data.name", "model.num_clusters", "prior.sigma_min"}


def versions() -> dict[str, str]:
    """Returns the versions of what numbers depend on."""
    return {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")}


def describe_machine() -> str:
    """Returns devices and versions in a line."""
    devices = jax.devices()
    packages = ", ".join(f"{name} {version}" for name, version in versions().items())
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()}){processes}, {packages}"


def prepare_workdir(workdir: Path | str) -> Path:
    """Makes the folder of a run and checks that files can be written there."""
    if not str(workdir).strip():
        raise WorkdirError("--workdir is empty; allowed: the name of a folder. Is a variable not set?")
    path = Path(workdir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise WorkdirError(f"--workdir is {str(workdir)!r}, which cannot be written ({error.strerror}).") from error
    return path


@contextlib.contextmanager
def lock_workdir(workdir: Path, warn: Callable[[str], None]) -> Iterator[None]:
    """Keeps other processes from training into a folder; the system gives it free when this process ends."""
    lock = filelock.FileLock(workdir / LOCK)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise WorkdirError(
            f"--workdir is {str(workdir)!r}, where another process is training. Choose another, or wait for its end."
        ) from error
    except NotImplementedError:
        warn(f"the file system of {workdir} has no locks, so nothing keeps a second process from training there.")
    except OSError as error:
        raise WorkdirError(f"{workdir / LOCK} cannot be locked ({error.strerror}).") from error
    try:
        yield
    finally:
        lock.release()


def new_folder(flag: str, path: Path | str) -> Path:
    """Makes the folder that a flag names, in which nothing may be yet."""
    path = Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(f"{flag} is {str(path)!r}, which cannot be made ({error.strerror}).") from error
    if any(path.iterdir()):
        raise WorkdirError(f"{flag} is {str(path)!r}, which is not empty. Choose another.")
    return path


@contextlib.contextmanager
def replace_file(path: Path | str) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of `path` at the end, and is removed after an error."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            yield file
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file, whole or not at all."""
    with replace_file(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())


def find_run(workdir: Path | str) -> Path:
    """Returns the folder of a run or of an exported model; a name that is no such folder may be one of `PRETRAINED`."""
    path, shipped = Path(workdir).expanduser(), PRETRAINED / workdir
    return (
        shipped if shipped.parent == PRETRAINED and shipped.is_dir() and not (path / "config.json").exists() else path
    )


def write_facts(workdir: Path, settings: dict[str, Any], facts: dict[str, Any]) -> None:
    """Writes config.json and data.json, which make a folder that of a run."""
    write_json(workdir / "config.json", settings)
    write_json(workdir / "data.json", {**facts, "format": FORMAT})


def read_settings(workdir: Path | str, name: str = "config.json") -> dict[str, Any]:
    """Reads a JSON file of a run."""
    path = Path(workdir).expanduser() / name
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        names = ", ".join(sorted(path.name for path in PRETRAINED.iterdir()))
        raise WorkdirError(
            f"--workdir is {str(workdir)!r}, which holds no run ({error}). Models that come with mpcc_jax: {names}."
        ) from error


def read_results(folder: Path) -> dict[str, Any]:
    """Reads results.json; empty if there is none."""
    path = folder / "results.json"
    return read_settings(folder, "results.json") if path.exists() else {}


def read_run(workdir: Path | str) -> tuple[ConfigDict, dict[str, Any]]:
    """Returns the configuration of a run and the facts of its data (data.json)."""
    workdir = find_run(workdir)
    settings, facts = read_settings(workdir), read_settings(workdir, "data.json")
    _check_format(workdir, facts)
    config = default_config()
    try:
        # Rewrites come and go from version to version, and none changes what is computed.
        settings["speed"] = {name: value for name, value in settings.get("speed", {}).items() if name in config.speed}
        config.update(unflatten_dict(_without_removed(flatten(settings)), sep="."))
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{workdir}/config.json is not of this version of mpcc_jax ({error}).") from error
    validate(config)
    return config, facts


def _without_removed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in REMOVED or value != REMOVED[name]}


def _check_format(workdir: Path, facts: dict[str, Any]) -> None:
    if facts.get("format", FORMAT) > FORMAT:
        raise WorkdirError(
            f"{workdir} is of format {facts['format']}, and this version of mpcc_jax reads format {FORMAT}: install a "
            "newer one."
        )


def differing_fields(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Returns a phrase for each field in which the settings of two runs differ, if it changes what is computed."""
    # A field that is newer than the run has its default: that is what the run did.
    before = {**flatten(settings_of(default_config())), **_without_removed(flatten(before))}
    now = flatten(now)
    return [
        f"config.{field} was {before.get(field)!r} and is {now.get(field)!r}"
        for field in {**before, **now}
        if before.get(field, "(no such field)") != now.get(field, "(none)")
        and field != "training.iterations"
        and not field.startswith(INCIDENTAL)
    ]


def differing_data(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Returns in words how the facts of data differ; "" if they don't. What imported weights don't say is None."""
    fields = [name for name in DATA_FIELDS if before.get(name) not in (None, now[name])]
    return "; ".join(f"{name} was {before[name]!r} and is {now[name]!r}" for name in fields)


def check_same_run(
    workdir: Path,
    config: ConfigDict,
    *,
    override: bool,
    facts: dict[str, Any] | None = None,
    warn: Callable[[str], None] = print,
) -> None:
    """Checks that a folder is new, or holds a run that can go on with this configuration and data (`facts`)."""
    path = workdir / "config.json"
    if (workdir / MODEL_FILE).exists():
        raise WorkdirError(
            f"--workdir is {str(workdir)!r}, which holds an exported model. Choose another; "
            f"--init_from={workdir} starts from its weights."
        )
    outputs = [name for name in OUTPUTS if _has_content(workdir / name)]
    outputs += sorted(path.name for path in workdir.glob("seed_[0-9]*"))
    if not path.exists() and not outputs:
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        ours = flatten(before).keys() >= OWN_FIELDS
    except (OSError, ValueError, AttributeError, AssertionError):
        ours = False
    if not ours:
        raise WorkdirError(
            f"--workdir is {str(workdir)!r}, which has {outputs[0] if outputs else 'config.json'} but no config.json "
            "of a run of mpcc_jax, so it belongs to something else. Choose another."
        )
    known = read_settings(workdir, "data.json") if (workdir / "data.json").exists() else {}
    _check_format(workdir, known)
    trained = max(
        (int(step.name) for step in (workdir / "checkpoints").glob("[0-9]*") if step.name.isdigit()), default=0
    )
    if trained > config.training.iterations:
        raise ConfigError(
            f"the run in {workdir} has trained {trained} iterations, and config.training.iterations is "
            f"{config.training.iterations}; allowed: {trained} or more. Or choose another --workdir."
        )
    fields = differing_fields(before, settings_of(config))
    if fields and trained and not override:
        raise ConfigError(
            f"the run in {workdir} was started with another configuration: {'; '.join(fields)}. Go on with the new one "
            "by --resume=override, or choose another --workdir."
        )
    changed = differing_data(known, facts) if facts and trained else ""
    if changed and not override:
        raise DataError(
            f"the data has changed since the run in {workdir} was started: {changed}. Go on with what is there now by "
            "--resume=override, or choose another --workdir."
        )
    if changed:
        warn(f"the data has changed since the run in {workdir} was started: {changed}.")


def _has_content(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else path.exists()
