"""The published weights of Inception: finding, downloading, reading and checking them."""

import dataclasses
import hashlib
import http.client
import os
import pathlib
import re
import tempfile
import types
import urllib.request

import numpy as np

from mpcc_jax.data.cache import cache_dir
from mpcc_jax.errors import WeightsError
from mpcc_jax.evaluation.inception import SHAPES
from mpcc_jax.tensor_files import ENDINGS, read_tensors

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
VARIABLE = "MPCC_JAX_INCEPTION"
DOWNLOAD = "download"
TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True, eq=False)
class InceptionWeights:
    """Weights that have been checked, and which file they are from.

    Attributes:
      params: float32 NumPy arrays by the names and of the shapes in `inception.SHAPES`.
      file: name of the file.
      sha256: of the file, in hexadecimal.
      published: whether it is the file that pytorch-fid published, by its checksum.
    """

    params: dict
    file: str
    sha256: str
    published: bool


def _checksum_in_name(name):
    """The start of the SHA-256 that a file name carries before its ending, as torch hub writes it, or None."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found and found[1]


def _standard_path(cache):
    return cache_dir(types.SimpleNamespace(cache_dir=cache)) / FILE_NAME


def find_weights(path=None, cache=None):
    """Where the weights are.

    Args:
      path: the file; "download", which fetches it into the cache unless it is there; or None, which means the
        environment variable MPCC_JAX_INCEPTION (a path or "download" too) or else the cache.
      cache: folder of the cache; MPCC_JAX_CACHE, or ~/.cache/mpcc_jax, where it is None.

    Returns:
      `pathlib.Path` of a file that exists.

    Raises:
      WeightsError: if there is none, or the download fails.
    """
    standard = _standard_path(cache)
    given = path or os.environ.get(VARIABLE)
    if given == DOWNLOAD:
        return standard if standard.is_file() else download(standard)
    chosen = pathlib.Path(given).expanduser() if given else standard
    if chosen.is_file():
        return chosen
    origin = "--inception" if path else VARIABLE if given else "the cache"
    raise WeightsError(
        f"the weights of Inception are not at {chosen} (looked there because of {origin}). FID, KID and the Inception "
        f"Score need them. Download {URL} (91 MiB) and put it at {standard}, or give the file by --inception=PATH or "
        f"the environment variable {VARIABLE}; --inception={DOWNLOAD} fetches it for you."
    )


def download(target, url=URL):
    """Fetches the weights, checks them by the checksum in the name of the file, and moves them into place.

    Args:
      target: path of the file to be.
      url: where it comes from; its name ends in the start of its SHA-256, as torch hub's do.

    Returns:
      `pathlib.Path` of the file.

    Raises:
      WeightsError: if the network fails, the disk refuses, or the checksum is another.
    """
    target, expected = pathlib.Path(target), _checksum_in_name(url)
    if expected is None:
        raise WeightsError(f"{url} has no checksum in its name; expected NAME-<start of the SHA-256>.pth")
    partial, digest = None, hashlib.sha256()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,
            tempfile.NamedTemporaryFile(prefix=".partial-", dir=target.parent, delete=False) as file,
        ):
            partial = pathlib.Path(file.name)
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
        if not digest.hexdigest().startswith(expected):
            raise WeightsError(
                f"what came from {url} has the SHA-256 {digest.hexdigest()}; it should start with {expected}. The "
                "transfer was cut off or changed on the way; try again."
            )
        partial.chmod(0o644)
        os.replace(partial, target)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"downloading {url} to {target} failed ({error or type(error).__name__}). Fetch it on a machine with a "
            "connection and put it there, or give it by --inception=PATH."
        ) from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)
    return target


def _problem(name, array):
    """What is wrong with one tensor, or None."""
    if array.shape != SHAPES[name]:
        return f"has shape {array.shape}; expected {SHAPES[name]}"
    if not np.issubdtype(array.dtype, np.floating):
        return f"is {array.dtype}; expected floating point"
    if not np.isfinite(array).all():
        return f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    if name.endswith("running_var") and array.min() < 0:
        return f"has negative variances, down to {array.min():g}"
    return None


def _check(tensors, path):
    """Raises WeightsError that names the first few tensors in which a state dict is not Inception's."""
    problems = [f"{name} {list(SHAPES[name])} is missing" for name in SHAPES if name not in tensors]
    problems += [
        f"{name} {list(array.shape)} does not belong there" for name, array in tensors.items() if name not in SHAPES
    ]
    found = {name: _problem(name, tensors[name]) for name in SHAPES if name in tensors}
    problems += [f"{name} {problem}" for name, problem in found.items() if problem]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(
            f"{path} does not hold FID's Inception of 2015: {'; '.join(problems[:5])}{more}. The right file is {URL}"
        )


def read_weights(path):
    """Reads and checks weights. Nothing but tensors is ever unpickled.

    Args:
      path: of a .pth, .safetensors or .npz file with the published names and PyTorch's layouts.

    Returns:
      `InceptionWeights`.

    Raises:
      WeightsError: if the file is damaged, its kind unknown, its checksum not the one in its name, or if a tensor is
        missing, superfluous, of another shape or not finite.
    """
    path = pathlib.Path(path)
    if path.suffix not in ENDINGS:
        raise WeightsError(f"weights of Inception in {path}: allowed endings are {', '.join(ENDINGS)}.")
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"the weights of Inception in {path} cannot be read ({error.strerror or error}).") from error
    expected = _checksum_in_name(path.name)
    if expected and not sha256.startswith(expected):
        raise WeightsError(
            f"{path} ({path.stat().st_size} bytes) has the SHA-256 {sha256}; by its name it should start with "
            f"{expected}. The download was probably cut off: remove the file and fetch it again."
        )
    try:
        tensors = read_tensors(path)
    except WeightsError as error:
        raise WeightsError(f"weights of Inception: {error}") from error
    tensors = {name: array for name, array in tensors.items() if not name.endswith("num_batches_tracked")}
    _check(tensors, path)
    params = {name: np.asarray(tensors[name], np.float32) for name in SHAPES}
    return InceptionWeights(params, path.name, sha256, sha256.startswith(_checksum_in_name(FILE_NAME)))
