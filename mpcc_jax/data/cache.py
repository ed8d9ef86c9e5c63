"""Prepared arrays on disk: written into a temporary folder that is renamed, opened memory-mapped."""

import contextlib
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.config import cache_dir
from mpcc_jax.data.dataset import Dataset, PixelRange, Source
from mpcc_jax.data.images import FILTER
from mpcc_jax.errors import DataError

FORMAT = 1
PARTIAL = ".partial-"
STORED = "stored"  # key of an identity: sizes of the files that it was made from
STORED_FIELDS = ("name", "class_names", "version", "split", "origin", "notes")  # of a `Dataset`, in facts.json
STALE_SECONDS = 24 * 3600


def file_name(text: str) -> str:
    """Replaces what cannot be in a file's name."""
    return re.sub(r"[^\w.+-]+", "_", text)


def entry_path(source: Source, settings: ConfigDict) -> Path:
    """Returns the folder of a prepared data set, which exists if the data set is prepared."""
    content = {"format": FORMAT, "filter": FILTER, "split": source.split, **source.identity}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    parts = [source.version, source.split, f"{settings.resolution}px", digest]
    return cache_dir(settings.cache_dir) / file_name(source.name) / "-".join(file_name(part) for part in parts if part)


def find_entry(source: Source, settings: ConfigDict) -> Path | None:
    """Finds the prepared copy of data that is missing on this machine. Raises DataError if there are several."""

    def is_made_as_source(path: Path) -> bool:
        identity = json.loads((path / "facts.json").read_text(encoding="utf-8"))["identity"]
        return {key: value for key, value in identity.items() if key != STORED} == dict(source.identity)

    folder = cache_dir(settings.cache_dir) / file_name(source.name)
    candidates = sorted(folder.glob(f"*-{file_name(source.split)}-{settings.resolution}px-*"))
    entries = [path for path in candidates if is_made_as_source(path)]
    if len(entries) > 1:
        raise DataError(
            f"the data of {source.name!r} is missing ({source.searched}), and {len(entries)} prepared copies could "
            f"stand for it: {', '.join(map(str, entries))}. Keep one, or give config.data.dir."
        )
    return entries[0] if entries else None


@contextlib.contextmanager
def write_entry(path: Path) -> Iterator[Path]:
    """Yields a folder to fill, renamed to `path` if all went well and no other process was first, else removed."""
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for abandoned in path.parent.glob(PARTIAL + "*"):  # by processes that were killed
            if time.time() - abandoned.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(abandoned, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=PARTIAL, dir=path.parent))
        partial.chmod(0o755)
        yield partial
        try:
            partial.rename(path)
        except OSError:
            if not path.exists():
                raise
    except OSError as error:
        raise DataError(
            f"the cache of prepared data in {path.parent} cannot be written ({error.strerror or error}). Choose "
            "another place by --config.data.cache_dir=PATH, or use memory alone by --config.data.cache=False."
        ) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def open_entry(path: Path, note: str) -> Dataset:
    """Opens a prepared data set, its images memory-mapped, with one more note. Raises DataError if it is damaged."""
    try:
        facts = json.loads((path / "facts.json").read_text(encoding="utf-8"))
        images = np.load(path / "images.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(path / "labels.npy", allow_pickle=False) if facts["labelled"] else None
        fields = {field: facts[field] for field in STORED_FIELDS}
        fields["class_names"] = fields["class_names"] and tuple(fields["class_names"])
        fields["notes"] = (*fields["notes"], note)
        return Dataset(images=images, labels=labels, pixels=PixelRange(**facts["pixels"]), **fields)
    except DataError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the prepared data in {path} is damaged ({error}); remove that folder to prepare it again."
        ) from error
