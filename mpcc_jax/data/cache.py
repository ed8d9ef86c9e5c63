"""Prepared arrays on disk: written beside and renamed, opened memory-mapped."""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import shutil
import tempfile
import time

import numpy as np

from mpcc_jax.data.dataset import Dataset, PixelRange
from mpcc_jax.data.images import FILTER
from mpcc_jax.errors import DataError

FORMAT = 1
PARTIAL = ".partial-"
STORED = "stored"  # key of an identity: sizes of the files that it was made from
STALE_SECONDS = 24 * 3600


def cache_dir(settings):
    """Where prepared arrays are: `data.cache_dir`, or MPCC_JAX_CACHE, or XDG_CACHE_HOME/mpcc_jax, or ~/.cache/mpcc_jax.

    Args:
      settings: `config.data`.

    Returns:
      `pathlib.Path`.
    """
    standard = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "mpcc_jax")
    return pathlib.Path(settings.cache_dir or os.environ.get("MPCC_JAX_CACHE") or standard).expanduser()


def file_name(text):
    """A name that can be a file's, from any text.

    Args:
      text: for example a path.

    Returns:
      Text.
    """
    return re.sub(r"[^\w.+-]+", "_", text)


def entry_path(source, settings):
    """The folder of a prepared data set, named by data set, version, split, resolution and a digest of all the rest.

    Args:
      source: the `Source`.
      settings: `config.data`.

    Returns:
      `pathlib.Path`; whether it exists says whether the data set is prepared.
    """
    content = {"format": FORMAT, "filter": FILTER, "split": source.split, **source.identity}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    parts = [source.version, source.split, f"{settings.resolution}px", digest]
    return cache_dir(settings) / file_name(source.name) / "-".join(file_name(part) for part in parts if part)


def _same_making(path, source):
    """Whether a prepared copy was made as a source would make it now, whatever files it was made from."""
    identity = json.loads((path / "facts.json").read_text())["identity"]
    return {key: value for key, value in identity.items() if key != STORED} == dict(source.identity)


def find_entry(source, settings):
    """A prepared copy of data that is not there itself any more, or never was on this machine.

    Args:
      source: the `Source`, its data missing.
      settings: `config.data`.

    Returns:
      `pathlib.Path`, or None.

    Raises:
      DataError: if several could be meant.
    """
    pattern = f"*-{file_name(source.split)}-{settings.resolution}px-*"
    candidates = sorted((cache_dir(settings) / file_name(source.name)).glob(pattern))
    found = [path for path in candidates if _same_making(path, source)]
    if len(found) > 1:
        raise DataError(
            f"the data of {source.name!r} is not there ({source.looked}), and {len(found)} prepared copies could stand "
            f"for it: {', '.join(map(str, found))}. Keep one, or give config.data.dir."
        )
    return found[0] if found else None


def _remove_stale(folder):
    """What processes left that were killed."""
    for partial in folder.glob(PARTIAL + "*"):
        if time.time() - partial.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(partial, ignore_errors=True)


def _rename(partial, path):
    try:
        os.rename(partial, path)
    except OSError:
        # Of several processes that prepare the same data, the first one wins.
        if not path.exists():
            raise


@contextlib.contextmanager
def write_entry(path):
    """A folder to write into, renamed to `path` when all went well and removed when not.

    Args:
      path: of the entry.

    Yields:
      `pathlib.Path` of the folder to fill.

    Raises:
      DataError: if the cache cannot be written.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path.parent)
        partial = pathlib.Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
        partial.chmod(0o755)
        yield partial
        _rename(partial, path)
    except OSError as error:
        raise DataError(
            f"the cache of prepared data in {path.parent} cannot be written ({error.strerror or error}). Choose "
            "another place by --config.data.cache_dir=PATH, or use memory alone by --config.data.cache=False."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


class ArrayWriter:
    """Writes an .npy file row by row, its length known only at the end."""

    def __init__(self, path, shape, dtype):
        """Args: path: of the file; shape: of one row; dtype: of the values."""
        self._file = open(path, "wb")  # noqa: SIM115
        self._row, self._dtype, self._count = tuple(shape), np.dtype(dtype), 0
        self._write_header()

    def _write_header(self):
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._count, *self._row)}
        # NumPy pads headers so that the first axis may grow in place.
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows):
        """Args: rows: [n, *row]."""
        self._file.write(np.ascontiguousarray(rows, self._dtype).data)
        self._count += len(rows)

    def close(self):
        """Writes the final header."""
        start = self._file.tell()
        self._file.seek(0)
        self._write_header()
        self._file.seek(start)
        self._file.close()

    def abandon(self):
        """Closes the file as it is."""
        self._file.close()


def open_entry(path):
    """A prepared data set, memory-mapped.

    Args:
      path: of the entry.

    Returns:
      A `Dataset`.

    Raises:
      DataError: if it is damaged.
    """
    try:
        facts = json.loads((path / "facts.json").read_text())
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(path / "labels.npy", allow_pickle=False) if facts["labelled"] else None
        names = facts["class_names"] and tuple(facts["class_names"])
        texts = (facts["name"], images, labels, names, facts["version"], facts["split"], facts["origin"])
        return Dataset(*texts, tuple(facts["notes"]), PixelRange(**facts["pixels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"the prepared data in {path} is damaged ({error}); remove that folder to prepare it again."
        ) from error
