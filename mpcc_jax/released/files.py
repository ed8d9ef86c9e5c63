"""Reads and writes the authors' weights: one file per network (G*.pth, D*.pth, ...), or one for all."""

import pathlib
from collections.abc import Mapping

import numpy as np

from mpcc_jax.errors import WeightsError
from mpcc_jax.tensor_files import ENDINGS, read_tensors, write_tensors

# What the authors call the files, by the prefix of names. The last may be absent.
STEMS = {"G": "G", "D": "D", "E": "E", "P": "Prior", "G_ema": "G_ema"}


def _find_network(path: pathlib.Path) -> str | None:
    """The prefix of the network that a file is named after."""
    matches = [prefix for prefix, stem in STEMS.items() if path.stem.startswith(stem)]
    return max(matches, key=len, default=None)


def _find_files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """One file per network, or the same one for all."""
    # Beside the networks lie the states of their optimizers, G_optim.pth and so on.
    paths = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS and "optim" not in path.stem)
    if len(paths) == 1 and paths[0].suffix != ".pth":
        return dict.fromkeys(STEMS, paths[0])
    files = {prefix: [path for path in paths if _find_network(path) == prefix] for prefix in STEMS}
    problems = [
        f"{len(found) or 'none'} for {STEMS[prefix]}" + f" ({', '.join(path.name for path in found)})" * bool(found)
        for prefix, found in files.items()
        if len(found) > 1 or not (found or prefix == "G_ema")
    ]
    if problems:
        raise WeightsError(
            f"--released_dir is {str(folder)!r}, where one file for each of {', '.join(STEMS.values())} (which may be "
            f"absent) is expected, such as G_best.pth ({', '.join(ENDINGS)}), or one .npz or .safetensors for all; "
            f"there are {', '.join(problems)}. Choose files by putting them, or links to them, into a folder."
        )
    return {prefix: found[0] for prefix, found in files.items() if found}


def _split(path: pathlib.Path) -> dict[str, dict[str, np.ndarray]]:
    """The tensors of a file for all, by network."""
    networks = {}
    for name, array in read_tensors(path).items():
        prefix, _, own = name.partition(".")
        if prefix in STEMS:
            networks.setdefault(prefix, {})[own] = array
    missing = [f"{prefix}." for prefix in STEMS if prefix not in networks and prefix != "G_ema"]
    if missing:
        raise WeightsError(
            f"{path} is the only file, and no name in it begins with {', '.join(missing)}; allowed: one file for all "
            f"networks with the prefixes {', '.join(f'{prefix}.' for prefix in STEMS)} (the last may be absent), or "
            f"one for each: {', '.join(STEMS.values())}."
        )
    return networks


def _check_values(name: str, array: np.ndarray, path: pathlib.Path) -> None:
    problem = None
    if array.dtype != np.float32:
        problem = f"is {array.dtype}; expected float32"
    elif not np.isfinite(array).all():
        problem = f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    elif name.endswith("stored_var") and array.size and array.min() < 0:
        problem = f"has negative variances, down to {array.min():g}"
    if problem:
        raise WeightsError(f"{name} {problem} (in {path}).")


def read_released(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of all networks, by name with the prefixes "G.", "D.", "E.", "P." and perhaps "G_ema.".

    Args:
      path: of a folder with a file each for G, D, E, Prior and perhaps G_ema, any suffix after those names; or of one
        .npz or .safetensors for all, or its folder, whose names have the prefixes (others are passed over).

    Raises:
      WeightsError: if there is none or more than one file for a network, one cannot be read, or a tensor is not finite.
    """
    path = pathlib.Path(path).expanduser()
    if not path.exists():
        raise WeightsError(f"--released_dir is {str(path)!r}, and nothing is there.")
    files = dict.fromkeys(STEMS, path) if path.is_file() else _find_files(path)
    one_for_all = len(set(files.values())) == 1
    networks = _split(files["G"]) if one_for_all else {prefix: read_tensors(file) for prefix, file in files.items()}
    tensors = {}
    for prefix, own in networks.items():
        for name, array in own.items():
            full = f"{prefix}.{name.removeprefix('module.')}"  # of DataParallel
            if full in tensors:
                raise WeightsError(f"{files[prefix]} has {full} twice, with and without 'module.'.")
            _check_values(full, array, files[prefix])
            tensors[full] = array
    return tensors


def write_released(folder: pathlib.Path, tensors: Mapping[str, np.ndarray], ending: str) -> None:
    """Writes one file per network into an empty folder, without prefixes, as the authors' code loads them."""
    for prefix, stem in STEMS.items():
        own = {name.partition(".")[2]: array for name, array in tensors.items() if name.startswith(f"{prefix}.")}
        if own:
            write_tensors(folder / f"{stem}{ending}", own)
