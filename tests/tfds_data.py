"""Prepared TensorFlow Datasets of a few images, written by TFDS itself; PNG bytes go in, so no TensorFlow is needed."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT

DRAWINGS = 20
SHARED = ROOT.parent / "shared" / "tfds"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/tfds")


def _png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return io.BytesIO(file.getvalue())


def prepare(directory, name, version, features, splits):
    """Writes one data set; `splits` are lists of examples by name."""
    import tensorflow_datasets as tfds

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        url_infos = None  # nothing is downloaded

        def _info(self):
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, _):
            return {split: enumerate(examples) for split, examples in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    Builder.name = name
    builder = Builder(data_dir=directory, file_format="array_record")
    builder.download_and_prepare()
    return builder


def prepare_labelled(directory, name, sizes, shape=(8, 8, 1), num_classes=4, version="3.0.1", label="label"):
    """Random images whose first pixel is their number and whose label is that modulo the classes."""
    import tensorflow_datasets as tfds

    rng = np.random.default_rng(0)
    features = {"image": tfds.features.Image(shape=shape), label: tfds.features.ClassLabel(num_classes=num_classes)}
    splits, number = {}, 0
    for split, size in sizes.items():
        splits[split] = []
        for _ in range(size):
            pixels = rng.integers(0, 256, shape).astype(np.uint8)
            pixels[0, 0] = number
            picture = pixels[..., 0] if shape[-1] == 1 else pixels
            splits[split].append({"image": _png(picture), label: number % num_classes})
            number += 1
    return prepare(directory, name, version, features, splits)


def prepare_omniglot(directory, alphabets, *, bilevel):
    """Characters by split and alphabet, as {"small1": {"Greek": [0, 1]}}; a drawing is the same in all splits."""
    import tensorflow_datasets as tfds

    names = sorted({name for split in alphabets.values() for name in split})
    features = {
        "image": tfds.features.Image(shape=(21, 21, 3)),
        "label": tfds.features.ClassLabel(num_classes=100),
        "alphabet": tfds.features.ClassLabel(names=names),
    }

    def drawing(label, number):
        ink = np.random.default_rng([label, number]).random((21, 21)) < 0.2
        if bilevel:
            return _png(~ink)
        return _png(np.where(ink, 0, 255).astype(np.uint8)[..., None].repeat(3, axis=-1))

    splits = {
        split: [
            {"image": drawing(label, number), "label": label, "alphabet": alphabet}
            for alphabet, labels in members.items()
            for label in labels
            for number in range(DRAWINGS)
        ]
        for split, members in alphabets.items()
    }
    return prepare(directory, "omniglot", "3.0.0", features, splits)
