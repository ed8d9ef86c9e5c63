"""From a configuration to a `Dataset`: from the cache where it is prepared, otherwise reading, resizing and keeping."""

import collections
import concurrent.futures
import dataclasses
import functools
import json
import os

import numpy as np

from mpcc_jax.data.arrays import digits_source, npz_source
from mpcc_jax.data.cache import ArrayWriter, cache_dir, entry_path, find_entry, open_entry, write_entry
from mpcc_jax.data.dataset import Dataset, measure_pixels
from mpcc_jax.data.folder import folder_source
from mpcc_jax.data.omniglot import omniglot_source
from mpcc_jax.data.tfds import tfds_source
from mpcc_jax.errors import DataError

READ_BLOCK = 512
SHOWN_SKIPPED = 5


def read_blocks(reader, num_threads):
    """All blocks of a source in order, a few read ahead by threads.

    Args:
      reader: the `Reader`.
      num_threads: at most so many blocks are in the making.

    Yields:
      `Block`s.
    """
    pool = concurrent.futures.ThreadPoolExecutor(num_threads)
    try:
        pending = collections.deque()
        for start in range(0, reader.count, READ_BLOCK):
            pending.append(pool.submit(reader.read, start, min(start + READ_BLOCK, reader.count)))
            if len(pending) > num_threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _consume(source, reader, settings, report, append):
    """Reads everything, hands images to `append`, and returns labels (or None) and notes."""
    labels, skipped, done = [], [], 0
    for block in read_blocks(reader, settings.threads or os.cpu_count()):
        append(block.images)
        labels.append(block.labels)
        skipped.extend(block.skipped)
        done += len(block.images) + len(block.skipped)
        report(done, reader.count)
    if len(skipped) == reader.count:
        raise DataError(
            f"none of the {reader.count} images of {source.name!r} can be read (the first is {skipped[0]!r})."
        )
    notes = list(reader.notes)
    if skipped:
        more = f" and {len(skipped) - SHOWN_SKIPPED} more" if len(skipped) > SHOWN_SKIPPED else ""
        notes.append(f"{len(skipped)} unreadable files skipped: {', '.join(skipped[:SHOWN_SKIPPED])}{more}")
    labels = None if labels[0] is None else np.concatenate(labels)
    return labels, tuple(notes)


def _fields(source, reader):
    return {
        "name": source.name,
        "class_names": reader.class_names,
        "version": source.version,
        "split": source.split,
        "origin": source.origin,
    }


def _read_into_memory(source, reader, settings, report):
    blocks = []
    labels, notes = _consume(source, reader, settings, report, blocks.append)
    return Dataset(images=np.concatenate(blocks), labels=labels, notes=notes, **_fields(source, reader))


def _write_to_cache(source, reader, settings, report, path):
    with write_entry(path) as folder:
        size = settings.resolution
        writer = ArrayWriter(folder / "images.npy", (size, size, reader.channels), np.uint8)
        try:
            labels, notes = _consume(source, reader, settings, report, writer.append)
            writer.close()
        finally:
            writer.abandon()
        if labels is not None:
            np.save(folder / "labels.npy", labels)
        images = np.load(folder / "images.npy", mmap_mode="r")
        # Checks everything before it may enter the cache.
        dataset = Dataset(
            images=images, labels=labels, notes=notes, **_fields(source, reader), pixels=measure_pixels(images)
        )
        facts = {
            **_fields(source, reader),
            "notes": notes,
            "labelled": labels is not None,
            "pixels": dataset.pixels._asdict(),
            "identity": dict(source.identity),
        }
        (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


def how_to_prepare(settings):
    """The command that prepares a missing TensorFlow Dataset.

    Args:
      settings: `config.data`.

    Returns:
      One line.
    """
    known = settings.name in DATASETS
    command = f"python launch.py --mode=prepare --config configs/{settings.name if known else 'folder'}.py"
    if not known:
        command += f" --config.data.name={settings.name}"
    return command + (f" --config.data.dir={settings.dir}" if settings.dir else "")


def load_dataset(config, report=lambda done, total: None):
    """Loads the data set that a configuration names, at the model's resolution.

    Args:
      config: the configuration; its `data` fields count.
      report: called with (images read, of how many) while reading.

    Returns:
      A `Dataset`; its images are memory-mapped if they came through the cache.

    Raises:
      DataError: if it is not there, cannot be read, or is not what it should be.
    """
    settings = config.data
    source = find_source(settings)
    cached = settings.cache and source.identity is not None
    if source.is_missing:
        path = find_entry(source, settings) if cached else None
        if path is None:
            raise DataError(
                f"{settings.name!r} is not prepared: {source.looked}"
                + (f" and in {cache_dir(settings)} for a prepared copy" if cached else "")
                + f". Prepare it once by: {how_to_prepare(settings)}"
            )
        return _with_note(open_entry(path), f"prepared copy in {path}; the data itself is not there")
    if not cached:
        return _read_into_memory(source, source.open(settings.resolution), settings, report)
    path = entry_path(source, settings)
    if not path.exists():
        _write_to_cache(source, source.open(settings.resolution), settings, report, path)
    return _with_note(open_entry(path), f"prepared copy in {path}")


def prepare_dataset(config, report=lambda done, total: None):
    """Gets what is missing, and puts it into the cache: what has to happen once before training.

    Args:
      config: the configuration; its `data` fields count.
      report: called with (images read, of how many) while reading.

    Returns:
      A `Dataset`.

    Raises:
      DataError: if it cannot be had.
    """
    source = find_source(config.data)
    if source.is_missing:
        source.fetch()
    return load_dataset(config, report)


def _with_note(dataset, note):
    return dataclasses.replace(dataset, notes=(*dataset.notes, note))


def _benchmark(name, dataset, **options):
    """The paper's rule: clustering sees training and test images together."""
    return functools.partial(tfds_source, name=name, dataset=dataset, split="train+test", **options)


def _any_tfds(settings, location):
    return tfds_source(settings, f"tfds:{location}", location, "train")


DATASETS = {
    "digits": digits_source,
    "mnist": _benchmark("mnist", "mnist"),
    "fashion_mnist": _benchmark("fashion_mnist", "fashion_mnist"),
    "cifar10": _benchmark("cifar10", "cifar10"),
    "cifar20": _benchmark("cifar20", "cifar100", label_feature="coarse_label"),
    "omniglot100": omniglot_source,
}
LOCATIONS = {"folder": folder_source, "npz": npz_source, "tfds": _any_tfds}


def find_source(settings):
    """The source that a configuration names.

    Args:
      settings: `config.data`.

    Returns:
      A `Source`, not opened.

    Raises:
      DataError: if there is none of that name, or nothing is there.
    """
    kind, colon, location = settings.name.partition(":")
    if colon and kind in LOCATIONS:
        return LOCATIONS[kind](settings, location)
    if settings.name not in DATASETS:
        raise DataError(
            f"config.data.name is {settings.name!r}; allowed: {', '.join(map(repr, DATASETS))}, 'folder:PATH', "
            "'npz:PATH', 'tfds:NAME'."
        )
    return DATASETS[settings.name](settings)
