"""The directory of a run: who may write there, what is in it, the configuration it belongs to, and its log."""

import contextlib
import json
import os
import pathlib
import tempfile

from mpcc_jax.config import default_config, validate
from mpcc_jax.errors import ConfigError, WorkdirError


def prepare_workdir(workdir):
    """Makes the directory of a run and checks that files can be written there.

    Args:
      workdir: path.

    Returns:
      `pathlib.Path`.

    Raises:
      WorkdirError: if it cannot be made or written.
    """
    path = pathlib.Path(workdir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise WorkdirError(f"--workdir is {str(workdir)!r}, which cannot be written ({error.strerror}).") from error
    return path


def new_folder(flag: str, path: str | pathlib.Path) -> pathlib.Path:
    """Makes the folder that a flag names, in which nothing may be yet.

    Raises:
      WorkdirError: if it cannot be made, or is not empty.
    """
    path = pathlib.Path(path).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkdirError(f"{flag} is {str(path)!r}, which cannot be made ({error.strerror}).") from error
    if any(path.iterdir()):
        raise WorkdirError(f"{flag} is {str(path)!r}, which is not empty. Choose another.")
    return path


def write_json(path, content):
    """Writes beside and renames, so that a kill leaves the old file or the new one.

    Args:
      path: `pathlib.Path` of the file.
      content: what JSON can hold.
    """
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


def read_settings(workdir, name="config.json"):
    """A file of a run.

    Args:
      workdir: path of its directory.
      name: of the file.

    Returns:
      What its JSON holds.

    Raises:
      WorkdirError: if there is none.
    """
    workdir = pathlib.Path(workdir).expanduser()
    try:
        return json.loads((workdir / name).read_text())
    except (OSError, ValueError) as error:
        raise WorkdirError(f"--workdir is {str(workdir)!r}, which holds no run ({error}).") from error


def read_run(workdir):
    """What a run was started with.

    Args:
      workdir: path of its directory.

    Returns:
      The configuration, and the facts about its data.

    Raises:
      WorkdirError: if there is no run.
      ConfigError: if its configuration is not one of this version.
    """
    settings, facts = read_settings(workdir), read_settings(workdir, "data.json")
    config = default_config()
    try:
        # Rewrites come and go from version to version, and none changes what is computed.
        settings["speed"] = {name: value for name, value in settings.get("speed", {}).items() if name in config.speed}
        config.update(settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{workdir}/config.json is not of this version of mpcc_jax ({error}).") from error
    validate(config)
    return config, facts


def flatten(settings, prefix=""):
    """Values by dotted name.

    Args:
      settings: nested dictionaries.
      prefix: of the names.

    Returns:
      A flat dictionary.
    """
    flat = {}
    for name, value in settings.items():
        flat.update(flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value})
    return flat


# What a run writes, besides config.json.
OUTPUTS = ("checkpoints", "data.json", "metrics.jsonl", "results.json", "tensorboard", "clusters.png")
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
OWN_FIELDS = {"variant", "seed", "data.name", "model.num_clusters", "prior.kind"}


def settings_of(config):
    """A configuration as JSON holds it.

    Args:
      config: the configuration.

    Returns:
      Nested dictionaries.
    """
    return json.loads(config.to_json_best_effort())


def differing_fields(before, now, but=()):
    """Where two runs differ in what is computed.

    Args:
      before, now: settings, nested dictionaries.
      but: fields that do not count.

    Returns:
      Texts, one per field; empty if they are the same.
    """
    # A field that is newer than the run has its default: that is what the run did.
    before = {**flatten(settings_of(default_config())), **flatten(before)}
    now = flatten(now)
    return [
        f"config.{field} was {before.get(field)!r} and is {now.get(field)!r}"
        for field in {**before, **now}
        if before.get(field, "(no such field)") != now.get(field, "(none)")
        and field not in but
        and not field.startswith(INCIDENTAL)
    ]


def check_same_config(workdir, config, *, override):
    """Whether a directory is new, or holds a run that was started with this configuration.

    Args:
      workdir: `pathlib.Path`.
      config: the configuration.
      override: whether to go on with another one.

    Raises:
      ConfigError: lists every field that differs.
      WorkdirError: if there is something that a run would overwrite, and it is not of a run of this program.
    """
    path = workdir / "config.json"
    there = [name for name in OUTPUTS if (workdir / name).exists()]
    if not path.exists() and not there:
        return
    try:
        before = json.loads(path.read_text())
        ours = flatten(before).keys() >= OWN_FIELDS
    except (OSError, ValueError, AttributeError):
        ours = False
    if not ours:
        raise WorkdirError(
            f"--workdir is {str(workdir)!r}, which has {there[0] if there else 'config.json'} but no config.json of a "
            "run of mpcc_jax, so it belongs to something else. Choose another."
        )
    fields = differing_fields(before, settings_of(config))
    if fields and any((workdir / "checkpoints").glob("[0-9]*")) and not override:
        raise ConfigError(
            f"the run in {workdir} was started with another configuration: {'; '.join(fields)}. Go on with the new one "
            "by --resume=override, or choose another --workdir."
        )


def open_log(path, iteration):
    """The log of a run, cut back to an iteration.

    Args:
      path: of the file, a JSON object per line.
      iteration: what was logged after it is dropped, since it will be done again.

    Returns:
      An open file at its end.
    """
    kept = []
    if iteration and path.exists():
        for line in path.read_text().splitlines():
            # A kill may leave half a line.
            with contextlib.suppress(ValueError):
                if json.loads(line)["iteration"] <= iteration:
                    kept.append(line + "\n")
    partial = path.with_suffix(".partial")
    partial.write_text("".join(kept))
    os.replace(partial, path)
    return open(path, "a")
