"""The authors' weights on disk: one file per network, or one file for all; which file holds what, and is it sound."""

import pathlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mpcc_jax.errors import WeightsError
from mpcc_jax.tensor_files import ENDINGS, read_tensors, write_tensors

# Prefixes of names, and what the authors call the files.
STEMS = {"G": "G", "D": "D", "E": "E", "P": "Prior", "G_ema": "G_ema"}
OPTIONAL = ("G_ema",)
_LONGEST_FIRST = sorted(STEMS, key=lambda prefix: -len(STEMS[prefix]))
# Tensors that may be left out, all of a kind together: nothing is computed with them, or they are there twice.
_DISPENSABLE = ("E.blocks.", "D.embed.", "P.phi_c")
_SHOWN = 5


class ReleasedWeights(NamedTuple):
    """State dicts of the authors' classes as they were found.

    Attributes:
      tensors: NumPy arrays by name, with the prefixes "G.", "D.", "E.", "P." and perhaps "G_ema.".
      files: `pathlib.Path` by prefix, without its point.
    """

    tensors: Mapping[str, np.ndarray]
    files: Mapping[str, pathlib.Path]


def _prefix(name):
    return name.partition(".")[0]


def _network_of(path):
    """The prefix of the network that a file is named after, or None."""
    return next((prefix for prefix in _LONGEST_FIRST if path.stem.startswith(STEMS[prefix])), None)


def _find_files(folder):
    """One file per network, or the same one for all."""
    # Beside the networks lie the states of their optimizers, G_optim.pth and so on.
    paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and "optim" not in path.stem)
    if len(paths) == 1 and paths[0].suffix != ".pth":
        return dict.fromkeys(STEMS, paths[0])
    found = {prefix: [path for path in paths if _network_of(path) == prefix] for prefix in STEMS}
    problems = [
        f"{len(files) or 'none'} for {STEMS[prefix]}" + f" ({', '.join(path.name for path in files)})" * bool(files)
        for prefix, files in found.items()
        if len(files) > 1 or not (files or prefix in OPTIONAL)
    ]
    if problems:
        raise WeightsError(
            f"--released_dir is {str(folder)!r}, where one file for each of {', '.join(STEMS.values())} (which may be "
            f"absent) is expected, such as G_best.pth ({', '.join(ENDINGS)}), or one .npz or .safetensors for all; "
            f"there are {', '.join(problems)}. Choose files by putting them, or links to them, into a folder."
        )
    return {prefix: files[0] for prefix, files in found.items() if files}


def _add_network(tensors, prefix, own, path):
    """Adds the tensors of one network, without the "module." of DataParallel."""
    for name, array in own.items():
        full = f"{prefix}.{name.removeprefix('module.')}"
        if full in tensors:
            raise WeightsError(f"{path} has {full} twice, with and without 'module.'.")
        tensors[full] = array


def _split(path):
    """The networks of a file for all."""
    stored, tensors = read_tensors(path), {}
    present = [prefix for prefix in STEMS if any(_prefix(name) == prefix for name in stored)]
    missing = [prefix for prefix in STEMS if prefix not in (*present, *OPTIONAL)]
    if missing:
        raise WeightsError(
            f"{path} is the only file, and no name in it begins with {', '.join(f'{prefix}.' for prefix in missing)}; "
            f"allowed: one file for all networks with the prefixes {', '.join(f'{prefix}.' for prefix in STEMS)} "
            f"(the last may be absent), or one for each: {', '.join(STEMS.values())}."
        )
    for prefix in present:
        own = {name.removeprefix(f"{prefix}."): array for name, array in stored.items() if _prefix(name) == prefix}
        _add_network(tensors, prefix, own, path)
    return ReleasedWeights(tensors, dict.fromkeys(present, path))


def read_released(path):
    """Reads the state dicts of all networks.

    Args:
      path: of a folder with a file each for G, D, E, Prior and perhaps G_ema, any suffix after those names, or with one
        .npz or .safetensors for all, whose names have the prefixes "G.", "D.", "E.", "P." and "G_ema." (others are
        passed over); or of that file.

    Returns:
      `ReleasedWeights`.

    Raises:
      WeightsError: if there is none or more than one file for a network.
      WeightsError: if a file cannot be read.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise WeightsError(f"--released_dir is {str(path)!r}, and nothing is there.")
    files = dict.fromkeys(STEMS, path) if path.is_file() else _find_files(path)
    if len(set(files.values())) == 1:
        return _split(files["G"])
    tensors = {}
    for prefix, file in files.items():
        _add_network(tensors, prefix, read_tensors(file), file)
    return ReleasedWeights(tensors, files)


def _problem(name, array, shape):
    """What is wrong with one tensor, or None."""
    if array.shape != shape:
        return f"is {array.shape}; expected {shape}"
    if array.dtype != np.float32:
        return f"is {array.dtype}; expected float32"
    if not np.isfinite(array).all():
        return f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    if name.endswith("stored_var") and array.min() < 0:
        return f"has negative variances, down to {array.min():g}"
    return None


def _may_be_absent(name, tensors):
    kind = next((kind for kind in _DISPENSABLE if name.startswith(kind)), None)
    return kind is not None and not any(other.startswith(kind) for other in tensors)


def check_released(weights, shapes):
    """Compares state dicts with what the model needs.

    Args:
      weights: `ReleasedWeights`.
      shapes: by name, from `mpcc_jax.released.convert.released_shapes`.

    Raises:
      WeightsError: names the tensors (the first few) that are missing, superfluous, of another shape or type or
        not finite, each with its file.
    """
    if "G_ema" in weights.files:
        shapes = {**shapes, **{"G_ema" + name[1:]: shape for name, shape in shapes.items() if _prefix(name) == "G"}}
    problems = []
    for name in {**shapes, **weights.tensors}:
        if name not in shapes:
            problem = "does not belong there"
        elif name in weights.tensors:
            problem = _problem(name, weights.tensors[name], shapes[name])
        else:
            problem = None if _may_be_absent(name, weights.tensors) else f"{shapes[name]} is missing"
        if problem:
            problems.append(f"{name} {problem} (in {weights.files[_prefix(name)]})")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise WeightsError(f"The released weights cannot be used: {'; '.join(problems[:_SHOWN])}{more}.")


def write_released(folder, tensors, ending):
    """Writes one file per network, without prefixes, as the authors' code names and loads them.

    Args:
      folder: `pathlib.Path` of an empty folder.
      tensors: arrays by name, with the prefixes.
      ending: one of `mpcc_jax.tensor_files.ENDINGS`.

    Returns:
      Paths of the files.
    """
    paths = []
    for prefix, stem in STEMS.items():
        own = {name.removeprefix(f"{prefix}."): array for name, array in tensors.items() if _prefix(name) == prefix}
        if own:
            paths.append(folder / f"{stem}{ending}")
            write_tensors(paths[-1], own)
    return paths
