"""The record of a run: a JSON file per seed, written when the run is done; all tables are made of these."""

import json

from mpcc_jax.config import default_config
from mpcc_jax.reproduce.errors import ReproduceError
from mpcc_jax.workdir import INCIDENTAL, flatten

FINISHED, FAILED = "finished", "failed"


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


def read_json(path):
    """A file of JSON.

    Args:
      path: `pathlib.Path`.

    Returns:
      What it holds; None if there is no such file.

    Raises:
      ReproduceError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ReproduceError(f"{path} cannot be read ({error}). Remove it, and its run is recorded again.") from error


def record_path(folder, scale, row, arm, seed):
    """Where the record of a run is.

    Args:
      folder: `pathlib.Path` of all records.
      scale, row, arm: names.
      seed: of the run; "*" for all.

    Returns:
      `pathlib.Path`.
    """
    return folder / f"{scale}_{row}_{arm}_seed{seed}.json"


def read_records(folder, scale, row, arm, config):
    """The records of one row and arm.

    Args:
      folder: `pathlib.Path` of all records.
      scale, row, arm: names.
      config: that the runs should have had, of any seed.

    Returns:
      Records of that configuration by rising seed, and a sentence for every record of another one.
    """
    pattern = record_path(folder, scale, row, arm, "*").name
    paths = [path for path in folder.glob(pattern) if path.stem.rpartition("_seed")[2].isdigit()]
    kept, left_out = [], []
    for path in paths:
        record = read_json(path)
        if record is None:  # moved away meanwhile
            continue
        fields = differing_fields(record["settings"], settings_of(config), but=("seed", "num_seeds"))
        if fields:
            left_out.append(f"{path.name} is of another configuration: {'; '.join(fields)}")
        else:
            kept.append(record)
    return sorted(kept, key=lambda record: record["seed"]), sorted(left_out)
