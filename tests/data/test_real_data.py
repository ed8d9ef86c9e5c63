"""The real data beside this repository; users do not have it."""

import hashlib

import numpy as np
import pytest

from mpcc_jax.data import load_dataset
from tests.conftest import ROOT, tiny_config

TFDS = ROOT.parent / "shared" / "tfds"
pytestmark = pytest.mark.skipif(not TFDS.is_dir(), reason="there is no ../shared/tfds")


def load(name, split, resolution=32, **settings):
    config = tiny_config()
    config.data.update({"name": name, "dir": str(TFDS), "split": split, "resolution": resolution, "cache": False})
    config.data.update(settings)
    return load_dataset(config)


def test_mnist_is_mnist():
    dataset = load("mnist", "test")
    assert dataset.images.shape == (10000, 32, 32, 1)
    np.testing.assert_array_equal(dataset.class_sizes, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert (dataset.pixels.minimum, dataset.pixels.maximum) == (0, 255)
    assert dataset.pixels.mean / 255 == pytest.approx(0.1325, abs=2e-3)


def test_cifar10_comes_through_threads_as_one_by_one():
    import tensorflow_datasets as tfds

    dataset = load("cifar10", "test[:2000]")
    source = tfds.data_source("cifar10", split="test[:2000]", data_dir=TFDS, download=False)
    expected = hashlib.sha256(b"".join(source[index]["image"].tobytes() for index in range(2000))).hexdigest()
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest() == expected
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")


def test_omniglot100_from_the_two_small_splits():
    config = tiny_config()
    config.data.update({"name": "omniglot100", "dir": str(TFDS), "resolution": 32, "cache": False})
    config.data.omniglot.copies = 1
    dataset = load_dataset(config)
    assert dataset.split == "small1+small2"
    assert dataset.images.shape == (2000, 32, 32, 1)
    np.testing.assert_array_equal(dataset.class_sizes, [20] * 100)
    assert any(note.startswith("100 of 242 characters") for note in dataset.notes)
    # Ink on paper: white corners, strokes that stay dark through the reduction.
    assert dataset.pixels.maximum == 255
    assert dataset.pixels.minimum < 30
    assert np.median(dataset.images[:, 0, 0, 0]) == 255
