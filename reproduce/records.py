"""The record of a run: a JSON file per seed, written when the run is done; all tables are made of these."""

import json

from mpcc_jax.workdir import differing_fields, settings_of
from reproduce.errors import ReproduceError

FINISHED, FAILED = "finished", "failed"


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
