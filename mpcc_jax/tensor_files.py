"""Reads and writes files of named arrays, .npz, .safetensors and PyTorch's .pth; nothing but tensors is unpickled."""

import pathlib
import pickle
import struct
import types
import zipfile
import zlib
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from mpcc_jax.errors import WeightsError

# What NumPy, safetensors and PyTorch raise for damaged files, and for pickles of other things than tensors.
_DAMAGE = (
    *(EOFError, ValueError, TypeError, LookupError, AttributeError, RuntimeError),
    *(struct.error, zlib.error, zipfile.BadZipFile, pickle.UnpicklingError, SafetensorError),
)


def import_torch(path: str | pathlib.Path) -> types.ModuleType:
    """Imports PyTorch, which .pth files alone need.

    Raises:
      WeightsError: names the file or flag that needs it, if it is not installed.
    """
    try:
        import torch
    except ImportError as error:
        raise WeightsError(
            f"{path} needs PyTorch, which is not installed: pip install torch --index-url "
            "https://download.pytorch.org/whl/cpu. Or use .npz or .safetensors with the same names."
        ) from error
    return torch


def _read_torch(path: pathlib.Path) -> dict[str, np.ndarray]:
    torch = import_torch(path)
    # PyTorch does not compare the checksums of its own files.
    broken = zipfile.ZipFile(path).testzip() if zipfile.is_zipfile(path) else None
    if broken:
        raise WeightsError(f"{path} is damaged: {broken} in it has another checksum. Copy it again.")
    stored = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(stored, Mapping) or not all(isinstance(value, torch.Tensor) for value in stored.values()):
        raise WeightsError(f"{path} holds something else than tensors by name; allowed: the state dict of a network.")
    return {name: tensor.detach().numpy() for name, tensor in stored.items()}


def _read_npz(path: pathlib.Path) -> dict[str, np.ndarray]:
    # NumPy leaves a file open that it opened itself and finds damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        arrays = dict(stored.items())
    # What is no array comes as its bytes.
    others = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]
    if others:
        raise WeightsError(f"{path} is damaged or no file of arrays: {others[0]} in it is none.")
    return arrays


_READERS = {".npz": _read_npz, ".safetensors": load_file, ".pth": _read_torch}
ENDINGS = tuple(_READERS)


def read_tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads a file of named arrays; its ending, one of `ENDINGS`, says how.

    Raises:
      WeightsError: if the file is not there, damaged or of another kind, or needs PyTorch and that is not installed.
    """
    if path.suffix not in _READERS:
        raise WeightsError(f"tensors in {path}: allowed endings are {', '.join(ENDINGS)}.")
    try:
        return _READERS[path.suffix](path)
    except WeightsError:
        raise
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is not there.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}).") from error
    except _DAMAGE as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WeightsError(f"{path} is damaged or of another kind than {path.suffix} ({reason}).") from error


def write_tensors(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a file of named arrays; its ending, one of `ENDINGS`, says how.

    Raises:
      WeightsError: if it cannot be written, or needs PyTorch and that is not installed.
    """
    try:
        if path.suffix == ".npz":
            np.savez(path, **tensors)
        elif path.suffix == ".safetensors":
            # It takes memory as it lies, whatever the strides; and files that it writes only their owner can read.
            path.write_bytes(save({name: np.asarray(array, order="C") for name, array in tensors.items()}))
        else:
            torch = import_torch(path)
            torch.save({name: torch.tensor(array) for name, array in tensors.items()}, path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be written ({error.strerror or error}).") from error
