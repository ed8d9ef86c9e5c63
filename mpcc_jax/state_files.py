"""A whole training state in small files with an index: to be copied anywhere, checked, and continued."""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.tensor_files import TensorFileError, read_tensors, write_tensors
from mpcc_jax.workdir import write_json

KIND = "training state of mpcc_jax"
FORMAT = 1
INDEX = "state.json"
SHARDS = "state-*.safetensors"
MAX_BYTES = 16 * 2**20
DTYPES = ("float32", "bfloat16")
# What a safetensors file holds besides the numbers, at most: its header, and of it the part of one tensor.
_HEADER, _ENTRY = 1024, 128


class StateFilesError(ValueError):
    """Files of a training state that cannot be used; the message names the file or the array."""


class ExportedState(NamedTuple):
    """A training state as it was read.

    Attributes:
      arrays: NumPy arrays by path in the state, as they are stored.
      iteration: finished iterations.
      config: of the run, as its config.json.
    """

    arrays: Mapping[str, np.ndarray]
    iteration: int
    config: Mapping[str, object]


def is_exported(path):
    """Whether a path is a folder of this kind, perhaps an incomplete one.

    Args:
      path: text or `pathlib.Path`.

    Returns:
      A bool.
    """
    path = pathlib.Path(path).expanduser()
    return (path / INDEX).exists() or any(path.glob(SHARDS))


def paths_of(tree):
    """The leaves of a state by their path, such as "params/generator/linear/kernel".

    Args:
      tree: `TrainState`.

    Returns:
      A dictionary.
    """
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _shards(arrays, max_bytes):
    """Dictionaries of flat arrays, each of them a file: whole arrays, and in pieces those that no file can hold."""
    shard, used = {}, _HEADER
    for name, array in arrays.items():
        overhead, flat = _ENTRY + len(name), array.reshape(-1)
        step = (max_bytes - _HEADER - overhead) // array.itemsize
        for start in range(0, max(flat.size, 1), step):
            piece = flat[start : start + step]
            if shard and used + overhead + piece.nbytes > max_bytes:
                yield shard
                shard, used = {}, _HEADER
            shard[name] = piece
            used += overhead + piece.nbytes
    yield shard


def write_state(folder, state, iteration, about, dtype="float32", max_bytes=MAX_BYTES):
    """Writes a state as files of at most 16 MiB, and when all are there their index.

    Args:
      folder: `pathlib.Path` of an empty folder.
      state: the `TrainState`, perhaps of several runs.
      iteration: finished iterations.
      about: a dictionary that JSON can hold, kept in the index; "config" of it is what the run was started with.
      dtype: of floating-point arrays in the files: "float32", which keeps every bit, or "bfloat16", which halves them
        and rounds to 8 bits of precision, so that what goes on from there is near, not equal. Integers stay exact.
      max_bytes: of a file.

    Returns:
      Paths of the files, without the index.

    Raises:
      TensorFileError: if a file cannot be written.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in paths_of(state).items()}
    if dtype == "bfloat16":
        floats = {name for name, array in arrays.items() if jnp.issubdtype(array.dtype, jnp.floating)}
        arrays |= {name: arrays[name].astype(jnp.bfloat16) for name in floats}
    tensors = {name: {"shape": list(array.shape), "files": []} for name, array in arrays.items()}
    files = {}
    for number, shard in enumerate(_shards(arrays, max_bytes), 1):
        path = folder / SHARDS.replace("*", f"{number:05}")
        write_tensors(path, shard)
        content = path.read_bytes()
        files[path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name in shard:
            tensors[name]["files"].append(path.name)
    facts = {"kind": KIND, "format": FORMAT, "iteration": int(iteration), "dtype": dtype}
    write_json(folder / INDEX, {**facts, **about, "files": files, "tensors": tensors})
    return [folder / name for name in files]


def _read_index(folder):
    path = folder / INDEX
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StateFilesError(f"{path} is missing or damaged ({error}). Copy the folder again.") from error
    known = (index.get("kind"), index.get("format")) if isinstance(index, dict) else None
    if known != (KIND, FORMAT):
        raise StateFilesError(
            f"{path} is {known}; expected {(KIND, FORMAT)}, as launch.py --mode=export_state writes it."
        )
    return index


def _read_shard(path, facts):
    """The arrays of one file, after a look at its checksum."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateFilesError(f"{path} is missing or cannot be read ({error.strerror}). Copy it again.") from error
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise StateFilesError(
            f"{path} is damaged or of another export: it has {len(content)} bytes of another checksum than the "
            f"{facts['bytes']} that {INDEX} speaks of. Copy it again."
        )
    return read_tensors(path)


def read_state(folder):
    """Reads and checks a folder of `write_state`.

    Args:
      folder: path.

    Returns:
      `ExportedState`.

    Raises:
      StateFilesError: if a file is missing, damaged, or of something else; names it.
    """
    folder = pathlib.Path(folder).expanduser()
    index = _read_index(folder)
    try:
        # Only names: an index may come from anywhere.
        shards = {
            name: _read_shard(folder / pathlib.PurePath(name).name, facts) for name, facts in index["files"].items()
        }
        arrays = {}
        for name, facts in index["tensors"].items():
            pieces = [shards[file][name] for file in facts["files"]]
            arrays[name] = np.concatenate(pieces).reshape(facts["shape"])
        iteration = int(index["iteration"])
        if not np.all(arrays["iteration"] == iteration):
            raise ValueError(f"iteration is {iteration} there and {arrays['iteration']} in the files")
        return ExportedState(arrays, iteration, dict(index["config"]))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, StateFilesError | TensorFileError):
            raise
        raise StateFilesError(
            f"{folder / INDEX} does not fit the files beside it ({error!r}). Copy them again."
        ) from error
