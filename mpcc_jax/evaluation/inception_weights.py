"""The published weights of Inception: finding, downloading, reading and checking them."""

import dataclasses
import hashlib
import http.client
import os
import re
import urllib.request
from pathlib import Path

import numpy as np

from mpcc_jax.config import cache_dir
from mpcc_jax.errors import WeightsError
from mpcc_jax.evaluation.inception import SHAPES
from mpcc_jax.tensor_files import read_tensors
from mpcc_jax.workdir import replace_file

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
VARIABLE = "MPCC_JAX_INCEPTION"
DOWNLOAD = "download"
TIMEOUT_SECONDS = 30


@dataclasses.dataclass(frozen=True, eq=False)
class InceptionWeights:
    """Weights that have been checked, and which file they are from."""

    params: dict[str, np.ndarray]  # float32, as `inception.SHAPES`
    file: str
    sha256: str
    published: bool  # whether it is the file that pytorch-fid published, by its checksum


def _checksum_in_name(name: str) -> str | None:
    """The start of the SHA-256 that a file name carries before its ending, as torch hub writes it."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found and found[1]


def find_weights(path: str | Path | None = None, cache: str | Path | None = None) -> Path:
    """Finds the file of weights; raises WeightsError if there is none, or the download fails.

    Args:
      path: the file; "download", which fetches it into the cache unless it is there; or None, which means the
        environment variable MPCC_JAX_INCEPTION (a path or "download" too) or else the cache.
      cache: folder of the cache; MPCC_JAX_CACHE, or ~/.cache/mpcc_jax, where it is None.
    """
    standard = cache_dir(cache) / FILE_NAME
    location = path or os.environ.get(VARIABLE)
    if location == DOWNLOAD:
        return standard if standard.is_file() else download(standard, URL)
    found = Path(location).expanduser() if location else standard
    if found.is_file():
        return found
    origin = "--inception" if path else VARIABLE if location else "the cache"
    raise WeightsError(
        f"the weights of Inception are not at {found} (looked there because of {origin}). FID, KID and the Inception "
        f"Score need them. Download {URL} (91 MiB) and put it at {standard}, or give the file by --inception=PATH or "
        f"the environment variable {VARIABLE}; --inception={DOWNLOAD} fetches it for you."
    )


def download(target: Path, url: str) -> Path:
    """Fetches the weights, checks them by the checksum in the name of the file, and moves them to `target`.

    Raises WeightsError if the network fails, the disk refuses, or the checksum is another.
    """
    expected, digest = _checksum_in_name(url), hashlib.sha256()
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response, replace_file(target) as file:
            while block := response.read(1 << 20):
                digest.update(block)
                file.write(block)
            if not digest.hexdigest().startswith(expected):
                raise WeightsError(
                    f"what came from {url} has the SHA-256 {digest.hexdigest()}; it should start with {expected}. The "
                    "transfer was cut off or changed on the way; try again."
                )
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"downloading {url} to {target} failed ({error or type(error).__name__}). Fetch it on a machine with a "
            "connection and put it there, or give it by --inception=PATH."
        ) from error
    return target


def _find_problem(name: str, tensors: dict[str, np.ndarray]) -> str | None:
    """Says what is wrong with one tensor."""
    if name not in tensors:
        return f"{list(SHAPES[name])} is missing"
    array = tensors[name]
    if name not in SHAPES:
        return f"{list(array.shape)} does not belong there"
    if array.shape != SHAPES[name]:
        return f"has shape {array.shape}; expected {SHAPES[name]}"
    if not np.issubdtype(array.dtype, np.floating):
        return f"is {array.dtype}; expected floating point"
    if not np.isfinite(array).all():
        return f"has {int((~np.isfinite(array)).sum())} values that are NaN or infinite"
    if name.endswith("running_var") and array.min() < 0:
        return f"has negative variances, down to {array.min():g}"
    return None


def read_weights(path: str | Path) -> InceptionWeights:
    """Reads weights from a .pth, .safetensors or .npz file with the published names and PyTorch's layouts.

    Raises WeightsError if the file is damaged, its kind unknown, its checksum not the one in its name, or if a tensor
    is missing, superfluous, of another shape or not finite.
    """
    path = Path(path)
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
    tensors = {name: array for name, array in read_tensors(path).items() if not name.endswith("num_batches_tracked")}
    problems = [f"{name} {text}" for name in {**SHAPES, **tensors} if (text := _find_problem(name, tensors))]
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise WeightsError(
            f"{path} does not hold FID's Inception of 2015: {'; '.join(problems[:5])}{more}. The right file is {URL}"
        )
    params = {name: np.asarray(tensors[name], np.float32) for name in SHAPES}
    return InceptionWeights(params, path.name, sha256, sha256.startswith(_checksum_in_name(FILE_NAME)))
