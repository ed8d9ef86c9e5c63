"""TensorFlow Datasets that are prepared on disk (array_record), read without TensorFlow."""

import dataclasses
import functools
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from ml_collections import ConfigDict
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError

from mpcc_jax.data.cache import STORED
from mpcc_jax.data.dataset import Block, Reader, Source
from mpcc_jax.data.images import fit_array
from mpcc_jax.errors import DataError, program


def tfds_dir(settings: ConfigDict) -> Path:
    """Returns where prepared data sets are: `settings.dir`, or TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    chosen = settings.dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    return Path(chosen).expanduser().resolve()


def find_prepared(directory: Path, name: str) -> Path | None:
    """Finds the folder of the newest prepared version of "NAME", "NAME/CONFIG" or either with ":VERSION"."""
    name, _, version = name.partition(":")
    prepared = [
        path.parent
        for path in (directory / name).glob("*/features.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name) and version in ("", path.parent.name)
    ]
    return max(prepared, key=lambda path: tuple(map(int, path.name.split("."))), default=None)


def stored_splits(path: Path) -> list[dict[str, Any]]:
    """Reads the splits of a prepared version: "name", "numBytes" and "shardLengths" of each."""
    return json.loads((path / "dataset_info.json").read_text(encoding="utf-8")).get("splits", [])


def tfds_source(settings: ConfigDict, name: str, dataset: str, split: str, label_feature: str | None = None) -> Source:
    """Returns a TensorFlow Dataset called `dataset` there; the settings' own split and label feature come first."""
    directory, split = tfds_dir(settings), settings.split or split
    label_feature = settings.label_feature or label_feature
    path = find_prepared(directory, dataset)
    source = Source(
        name=name,
        open=functools.partial(_open, path, split, name, settings, label_feature),
        split=split,
        identity={
            "tfds": dataset,
            "image_feature": settings.image_feature,
            "label_feature": label_feature,
            "labels": settings.labels,
        },
        searched=f"looked in {directory / dataset.partition(':')[0]} for TFDS data",
        fetch=functools.partial(download, directory, dataset),
    )
    if path is None:
        return source
    # Two copies of one version may differ (a re-encoded one, say): sizes tell them apart, folders do not matter.
    stored = [[part.get("name"), part.get("numBytes"), part.get("shardLengths")] for part in stored_splits(path)]
    identity = {**source.identity, STORED: stored}
    return dataclasses.replace(source, version=path.name, origin=str(path), identity=identity)


def _open(
    path: Path, split: str, name: str, settings: ConfigDict, label_feature: str | None, resolution: int
) -> Reader:
    builder, records = open_records(path, split, name)
    features = builder.info.features
    image = _find_feature(features, settings.image_feature, "Image", "image_feature", name)
    channels = features[image].shape[-1]
    if channels not in (1, 3):
        raise DataError(f"the images of {name!r} have the shape {features[image].shape}; allowed: 1 or 3 channels.")
    label = None
    if settings.labels:
        label = _find_feature(features, label_feature, "ClassLabel", "label_feature", name)

    def read(start: int, stop: int) -> Block:
        examples = records.__getitems__(range(start, stop))
        images = np.stack([fit_array(example[image], resolution) for example in examples])
        return Block(images, None if label is None else np.asarray([example[label] for example in examples], np.int32))

    return Reader(len(records), channels, read, None if label is None else tuple(features[label].names))


def _find_feature(
    features: tfds.features.FeaturesDict, chosen: str | None, kind: str, field: str, name: str
) -> str | None:
    """Returns the chosen feature, or "image" or "label", or the only one of its kind; None if there is no label."""
    if chosen:
        if chosen not in features:
            raise DataError(f"config.data.{field} is {chosen!r}; allowed for {name!r}: {', '.join(sorted(features))}.")
        return chosen
    candidates = [key for key, feature in features.items() if type(feature).__name__ == kind]
    usual = "image" if kind == "Image" else "label"
    if usual in candidates or len(candidates) == 1:
        return usual if usual in candidates else candidates[0]
    if kind == "ClassLabel":
        return None
    raise DataError(f"{name!r} has {len(candidates)} image features ({candidates}); name one by config.data.{field}.")


def open_records(path: Path, split: str, name: str) -> tuple[tfds.core.DatasetBuilder, Any]:
    """Opens a prepared version for random access: the TFDS builder, and its data source."""
    builder = tfds.builder_from_directory(path)
    if builder.info.file_format is not tfds.core.FileFormat.ARRAY_RECORD:
        raise DataError(
            f"{name!r} in {path} is stored as {builder.info.file_format.value}, which only TensorFlow reads; prepare "
            f"it as array_record by `{program()} prepare` with another --config.data.dir."
        )
    try:
        return builder, builder.as_data_source(split=split)
    except (ValueError, KeyError) as error:
        splits = ", ".join(f"{key} ({value.num_examples})" for key, value in sorted(builder.info.splits.items()))
        raise DataError(
            f"config.data.split is {split!r}, which {name!r} in {path} cannot be read by; allowed: {splits}, parts "
            "such as train[:1000], and sums such as train+test."
        ) from error


def download(directory: Path, dataset: str) -> None:
    """Downloads and prepares a data set as array_record, once. Needs TensorFlow, on the CPU alone."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise DataError(
            f"downloading {dataset!r} needs TensorFlow, which is not installed: pip install tensorflow-cpu "
            "importlib_resources (training does without)."
        ) from error
    tf.config.set_visible_devices([], "GPU")
    try:
        builder = tfds.builder(dataset, data_dir=directory, file_format="array_record")
    except (tfds.core.DatasetNotFoundError, ValueError) as error:
        raise DataError(f"TensorFlow Datasets knows no {dataset!r}: {str(error).strip().splitlines()[0]}") from error
    # Of the network, the disk, the archive, a package of the data set, and files to be downloaded by hand (assertions).
    failures = (OSError, ValueError, RuntimeError, ImportError, AssertionError, tf.errors.OpError)
    failures += (tfds.download.DownloadError, NonMatchingChecksumError, ExtractError)
    try:
        builder.download_and_prepare()
    except failures as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DataError(f"{dataset!r} could not be downloaded and prepared in {directory}: {reason}") from error
