"""TensorFlow Datasets that are prepared on disk (array_record), read without TensorFlow."""

import dataclasses
import functools
import json
import os
import pathlib
import re

import numpy as np

from mpcc_jax.data.cache import STORED
from mpcc_jax.data.dataset import Block, Reader, Source
from mpcc_jax.data.images import fit_array
from mpcc_jax.errors import DataError


def tfds_dir(settings):
    """Where prepared data sets are: `data.dir`, or TFDS_DATA_DIR, or ~/tensorflow_datasets.

    Args:
      settings: `config.data`.

    Returns:
      `pathlib.Path`.
    """
    chosen = settings.dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return pathlib.Path(chosen).expanduser().resolve()


def find_prepared(directory, name):
    """The newest prepared version of a data set; only looks at names of folders.

    Args:
      directory: where prepared data sets are.
      name: "NAME", "NAME/CONFIG" or either with ":VERSION".

    Returns:
      `pathlib.Path` of the version's folder, or None.
    """
    name, _, version = name.partition(":")
    found = [
        path.parent
        for path in (directory / name).glob("*/features.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name) and version in ("", path.parent.name)
    ]
    return max(found, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def stored_splits(path):
    """What splits a prepared data set has, as written beside it.

    Args:
      path: of the version's folder.

    Returns:
      A list of dictionaries with "name", "numBytes" and "shardLengths".
    """
    return json.loads((path / "dataset_info.json").read_text()).get("splits", [])


def _find_feature(features, chosen, kind, field, name):
    """Name of the feature to read: the chosen one, or "image" or "label", or the only one of its kind."""
    candidates = [key for key, feature in features.items() if type(feature).__name__ == kind]
    if chosen:
        if chosen not in features:
            raise DataError(f"config.data.{field} is {chosen!r}; allowed for {name!r}: {', '.join(sorted(features))}.")
        return chosen
    usual = "image" if kind == "Image" else "label"
    if usual in candidates or len(candidates) == 1:
        return usual if usual in candidates else candidates[0]
    if kind == "Image":
        raise DataError(
            f"{name!r} has {len(candidates)} image features ({candidates}); name one by config.data.{field}."
        )
    return None


def open_records(path, split, name):
    """Opens prepared data for random access.

    Args:
      path: of the version's folder.
      split: a TFDS split, such as "train", "train+test" or "train[:1000]".
      name: of the data set, for messages.

    Returns:
      The TFDS builder, and its data source.

    Raises:
      DataError: if there is no such split, or the files are not array_record.
    """
    import tensorflow_datasets as tfds

    builder = tfds.builder_from_directory(path)
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{name!r} in {path} is stored as {builder.info.file_format.value}, which only TensorFlow reads; prepare "
            "it as array_record by --mode=prepare with another --config.data.dir."
        )
    try:
        return builder, builder.as_data_source(split=split)
    except (ValueError, KeyError) as error:
        there = ", ".join(f"{key} ({value.num_examples})" for key, value in sorted(builder.info.splits.items()))
        raise DataError(
            f"config.data.split is {split!r}, which {name!r} in {path} cannot be read by; allowed: {there}, parts such "
            "as train[:1000], and sums such as train+test."
        ) from error


def _read_block(records, image_feature, label_feature, resolution, start, stop):
    examples = records.__getitems__(range(start, stop))
    images = np.stack([fit_array(example[image_feature], resolution) for example in examples])
    labels = None if label_feature is None else np.asarray([example[label_feature] for example in examples], np.int32)
    return Block(images, labels)


def _open(path, split, name, settings, label_feature, resolution):
    builder, records = open_records(path, split, name)
    features = builder.info.features
    image = _find_feature(features, settings.image_feature, "Image", "image_feature", name)
    channels = features[image].shape[-1]
    if channels not in (1, 3):
        raise DataError(f"the images of {name!r} have the shape {features[image].shape}; allowed: 1 or 3 channels.")
    label = None
    if settings.labels:
        label = _find_feature(features, settings.label_feature or label_feature, "ClassLabel", "label_feature", name)
    return Reader(
        count=len(records),
        channels=channels,
        read=functools.partial(_read_block, records, image, label, resolution),
        class_names=None if label is None else tuple(features[label].names),
    )


def download(directory, dataset):
    """Downloads and prepares a data set as array_record, once. Needs TensorFlow, on the CPU alone.

    Args:
      directory: where prepared data sets are.
      dataset: its name in TFDS.

    Raises:
      DataError: if TensorFlow is not installed, there is no such data set, or it cannot be had.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DataError(
            f"downloading {dataset!r} needs TensorFlow, which is not installed: pip install -r requirements-prepare.txt"
            " (training does without)."
        ) from error
    import tensorflow_datasets as tfds

    tf.config.set_visible_devices([], "GPU")
    try:
        builder = tfds.builder(dataset, data_dir=directory, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise DataError(f"TensorFlow Datasets knows no {dataset!r}: {str(error).strip().splitlines()[0]}") from error
    try:
        builder.download_and_prepare()
    except Exception as error:
        # Whatever went wrong is the network's, the disk's or the data set's; the first line says it.
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{dataset!r} could not be downloaded and prepared in {directory}: {reason}") from error


def tfds_source(settings, name, dataset, split, label_feature=None):
    """A prepared TensorFlow Dataset as a source.

    Args:
      settings: `config.data`.
      name: what the data set is called here.
      dataset: what it is called in TFDS.
      split: its split rule, if `data.split` does not choose another.
      label_feature: the feature with the classes; None finds it.

    Returns:
      A `Source`.
    """
    directory, split = tfds_dir(settings), settings.split or split
    path = find_prepared(directory, dataset)
    source = Source(
        name=name,
        open=functools.partial(_open, path, split, name, settings, label_feature),
        split=split,
        identity={
            "tfds": dataset,
            "image_feature": settings.image_feature,
            "label_feature": settings.label_feature or label_feature,
            "labels": settings.labels,
        },
        looked=f"looked in {directory / dataset.partition(':')[0]} for TFDS data",
        fetch=functools.partial(download, directory, dataset),
    )
    if path is None:
        return source
    # Two copies of one version may differ (a re-encoded one, say): sizes tell them apart, folders do not matter.
    stored = [[part.get("name"), part.get("numBytes"), part.get("shardLengths")] for part in stored_splits(path)]
    identity = {**source.identity, STORED: stored}
    return dataclasses.replace(source, version=path.name, origin=str(path), identity=identity)
