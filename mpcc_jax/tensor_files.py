"""Files of named arrays: .npz, .safetensors and PyTorch's .pth, read without executing anything that is in them."""

import zipfile
from collections.abc import Mapping

import numpy as np

from mpcc_jax.errors import WeightsError


def import_torch(path):
    """PyTorch, which .pth files alone need.

    Args:
      path: of the file that it is needed for.

    Returns:
      The module.

    Raises:
      WeightsError: if it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} needs PyTorch, which is not installed: pip install torch --index-url "
            "https://download.pytorch.org/whl/cpu. Or use .npz or .safetensors with the same names."
        ) from error
    return torch


def _read_torch(path):
    torch = import_torch(path)
    # PyTorch does not compare the checksums of its own files.
    broken = zipfile.ZipFile(path).testzip() if zipfile.is_zipfile(path) else None
    if broken:
        raise WeightsError(f"{path} is damaged: {broken} in it has another checksum. Copy it again.")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, Mapping) or not all(isinstance(value, torch.Tensor) for value in stored.values()):
        raise WeightsError(f"{path} holds something else than tensors by name; allowed: the state dict of a network.")
    return {name: tensor.detach().numpy() for name, tensor in stored.items()}


def _read_safetensors(path):
    from safetensors.numpy import load_file

    return load_file(path)


def _read_npz(path):
    # NumPy leaves a file open that it opened itself and finds damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored.items())
    # What is no array comes as its bytes.
    others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if others:
        raise WeightsError(f"{path} is damaged or no file of arrays: {others[0]} in it is none.")
    return arrays


def _write_torch(path, tensors):
    torch = import_torch(path)
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)


def _write_safetensors(path, tensors):
    from safetensors.numpy import save

    # It takes memory as it lies, whatever the strides; and its own files only their owner could read.
    path.write_bytes(save({name: np.asarray(array, order="C") for name, array in tensors.items()}))


def _write_npz(path, tensors):
    np.savez(path, **tensors)


_READERS = {".npz": _read_npz, ".safetensors": _read_safetensors, ".pth": _read_torch}
_WRITERS = {".npz": _write_npz, ".safetensors": _write_safetensors, ".pth": _write_torch}
ENDINGS = tuple(_READERS)


def read_tensors(path):
    """Reads a file of named arrays. Nothing but tensors is ever unpickled.

    Args:
      path: `pathlib.Path`; its ending says how, one of `ENDINGS`.

    Returns:
      NumPy arrays by name.

    Raises:
      WeightsError: if the ending is another, the file is not there, damaged or of another kind, or needs PyTorch and
        that is not installed.
    """
    if path.suffix not in _READERS:
        raise WeightsError(f"tensors in {path}: allowed endings are {', '.join(ENDINGS)}.")
    try:
        return _READERS[path.suffix](path)
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is not there.") from error
    except Exception as error:  # every reader has its own kinds for a damaged file
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WeightsError(f"{path} is damaged or of another kind than {path.suffix} ({reason}).") from error


def write_tensors(path, tensors):
    """Writes a file of named arrays.

    Args:
      path: `pathlib.Path`; its ending says how, one of `ENDINGS`.
      tensors: arrays by name.

    Raises:
      WeightsError: if it cannot be written, or needs PyTorch and that is not installed.
    """
    try:
        _WRITERS[path.suffix](path, tensors)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written ({error.strerror or error}).") from error
