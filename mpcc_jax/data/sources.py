"""From `config.data` to a `Dataset`: finds the source by its name, reads it or opens the prepared copy in the cache."""

import errno
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grain
import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.config import cache_dir
from mpcc_jax.data.arrays import digits_source, npz_source
from mpcc_jax.data.cache import STORED_FIELDS, entry_path, find_entry, open_entry, write_entry
from mpcc_jax.data.dataset import Block, Dataset, Reader, Source
from mpcc_jax.data.folder import folder_source
from mpcc_jax.data.omniglot import omniglot_source
from mpcc_jax.data.tfds import tfds_source
from mpcc_jax.errors import DataError, program

READ_BLOCK = 512
SHOWN_SKIPPED = 5
Progress = Callable[[int, int], Any]


def _paper_source(name: str, settings: ConfigDict) -> Source:
    """Returns a benchmark of the paper, which clusters training and test images together."""
    dataset, label_feature = ("cifar100", "coarse_label") if name == "cifar20" else (name, None)
    return tfds_source(settings, name, dataset, "train+test", label_feature)


DATASETS = {
    "digits": digits_source,
    **{name: functools.partial(_paper_source, name) for name in ("mnist", "fashion_mnist", "cifar10", "cifar20")},
    "omniglot100": omniglot_source,
}
LOCATIONS = {
    "folder": folder_source,
    "npz": npz_source,
    "tfds": lambda settings, location: tfds_source(settings, f"tfds:{location}", location, "train"),
}


def find_source(settings: ConfigDict) -> Source:
    """Returns the source that `settings.name` names, not opened. Raises DataError if there is none."""
    kind, colon, location = settings.name.partition(":")
    if colon and kind in LOCATIONS:
        source = LOCATIONS[kind](settings, location)
    elif settings.name in DATASETS:
        source = DATASETS[settings.name](settings)
    else:
        names = ", ".join(map(repr, [*DATASETS, "folder:PATH", "npz:PATH", "tfds:NAME"]))
        raise DataError(f"config.data.name is {settings.name!r}; allowed: {names}.")
    if settings.split and not source.split:
        raise DataError(f"config.data.split is {settings.split!r}, and {settings.name!r} has no splits; allowed: ''.")
    return source


def load_dataset(config: ConfigDict, progress: Progress = lambda done, total: None) -> Dataset:
    """Loads the data set that `config.data` names, memory-mapped if it came through the cache.

    `progress` is called with (images read, number of images). Raises DataError if the data is missing or unusable.
    """
    settings = config.data
    source = find_source(settings)
    cached = settings.cache and source.identity is not None
    if source.is_missing:
        path = find_entry(source, settings) if cached else None
        if path is None:
            copies = f" and in {cache_dir(settings.cache_dir)} for a prepared copy" if cached else ""
            text = f"{settings.name!r} is not prepared: {source.searched}{copies}. Prepare it once by: "
            raise DataError(text + how_to_prepare(settings))
        return open_entry(path, f"prepared copy in {path}; the data itself is not there")
    if not cached:
        return _read(source, source.open(settings.resolution), settings, progress, np.empty)
    path = entry_path(source, settings)
    if not path.exists():
        _write_to_cache(source, settings, progress, path)
    return open_entry(path, f"prepared copy in {path}")


def prepare_dataset(config: ConfigDict, progress: Progress = lambda done, total: None) -> Dataset:
    """Downloads the data set if it is missing, and loads it (`load_dataset`), which fills the cache."""
    source = find_source(config.data)
    if source.is_missing:
        source.fetch()
    return load_dataset(config, progress)


def how_to_prepare(settings: ConfigDict) -> str:
    """Returns the command that prepares a missing TensorFlow Dataset."""
    named = settings.name in DATASETS
    command = f"{program()} prepare {settings.name if named else 'folder'}"
    command += "" if named else f" --config.data.name={settings.name}"
    return command + (f" --config.data.dir={settings.dir}" if settings.dir else "")


def read_blocks(reader: Reader, num_threads: int) -> Iterator[Block]:
    """Yields all blocks of a source in order, some of them read ahead by threads."""

    def read(start: int) -> Block:
        return reader.read(start, min(start + READ_BLOCK, reader.count))

    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=num_threads)
    yield from grain.MapDataset.source(range(0, reader.count, READ_BLOCK)).map(read).to_iter_dataset(options)


def _read(
    source: Source, reader: Reader, settings: ConfigDict, progress: Progress, allocate: Callable[..., np.ndarray]
) -> Dataset:
    """Reads everything into an array that `allocate(shape, dtype)` makes."""
    images = allocate((reader.count, settings.resolution, settings.resolution, reader.channels), np.uint8)
    labels, skipped, count = [], [], 0
    for block in read_blocks(reader, settings.threads or os.cpu_count()):
        images[count : count + len(block.images)] = block.images
        labels.append(block.labels)
        skipped.extend(block.skipped)
        count += len(block.images)
        progress(count + len(skipped), reader.count)
    if not count:
        raise DataError(f"none of the {reader.count} images of {source.name!r} can be read, such as {skipped[0]!r}.")
    notes = list(reader.notes)
    if skipped:
        more = f" and {len(skipped) - SHOWN_SKIPPED} more" if len(skipped) > SHOWN_SKIPPED else ""
        notes.append(f"{len(skipped)} unreadable files skipped: {', '.join(skipped[:SHOWN_SKIPPED])}{more}")
    return Dataset(
        name=source.name,
        images=images[:count],
        labels=None if labels[0] is None else np.concatenate(labels),
        class_names=reader.class_names,
        version=source.version,
        split=source.split,
        origin=source.origin,
        notes=tuple(notes),
    )


def _write_to_cache(source: Source, settings: ConfigDict, progress: Progress, path: Path) -> None:
    reader = source.open(settings.resolution)
    with write_entry(path) as folder:

        def allocate(shape: tuple[int, ...], dtype: type) -> np.memmap:
            # Writing beyond the end of a disk through a memory map would end the process.
            if np.prod(shape) > shutil.disk_usage(folder).free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return np.lib.format.open_memmap(folder / "images.npy", "w+", dtype, shape)

        dataset = _read(source, reader, settings, progress, allocate)
        dataset.images.flush()
        if len(dataset.images) < reader.count:
            np.save(folder / "read.npy", dataset.images)
            (folder / "read.npy").replace(folder / "images.npy")
        if dataset.labels is not None:
            np.save(folder / "labels.npy", dataset.labels)
        facts = {field: getattr(dataset, field) for field in STORED_FIELDS}
        facts |= {"labelled": dataset.labels is not None, "pixels": dataset.pixels._asdict()}
        facts |= {"identity": dict(source.identity)}
        (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
