"""Prepared TensorFlow Datasets: which version and split is read, and what is said if there is none."""

import hashlib
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mpcc_jax.data import load_dataset, prepare_dataset
from mpcc_jax.data.tfds import download
from mpcc_jax.errors import DataError
from tests.conftest import tiny_config
from tests.tfds_data import SHARED, needs_shared, prepare_labelled

SIZES = {"train": 24, "test": 12}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    prepare_labelled(directory, "mnist", SIZES)
    prepare_labelled(directory, "mnist", SIZES, version="3.0.0")
    prepare_labelled(directory, "cifar100", SIZES, (10, 8, 3), 6, label="coarse_label")
    return directory


def load(directory, name, **settings):
    config = tiny_config()
    config.data.update({"name": name, "dir": str(directory), "cache": False, **settings})
    return load_dataset(config)


def test_benchmarks_are_train_and_test_together(prepared):
    dataset = load(prepared, "mnist")
    assert (dataset.name, dataset.version, dataset.split) == ("mnist", "3.0.1", "train+test")
    assert dataset.origin == str(prepared / "mnist" / "3.0.1")
    numbers = dataset.images[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(numbers), np.arange(36))
    np.testing.assert_array_equal(dataset.labels, numbers % 4)
    assert dataset.class_names == ("0", "1", "2", "3")
    assert not any(name == "tensorflow" or name.startswith("tensorflow.") for name in sys.modules)


def test_the_split_is_a_field_and_the_directory_a_variable(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    part = load("", "mnist", split="test[:5]")
    assert (len(part.images), part.split) == (5, "test[:5]")
    with pytest.raises(DataError, match=r"config.data.split is 'valid'.*allowed: test \(12\), train \(24\), parts"):
        load(prepared, "mnist", split="valid")


def test_any_data_set_by_name_and_version(prepared):
    dataset = load(prepared, "cifar20")
    assert dataset.images.shape == (36, 8, 8, 3), "resized"
    assert len(dataset.class_names) == 6, "the coarse labels"
    assert load(prepared, "cifar20", labels=False).labels is None
    assert load(prepared, "tfds:mnist").version == "3.0.1"
    old = load(prepared, "tfds:mnist:3.0.0")
    assert (old.version, old.split, len(old.images)) == ("3.0.0", "train", 24)
    assert load(prepared, "tfds:cifar100").labels is not None
    with pytest.raises(DataError, match=r"config.data.label_feature is 'fine'; allowed .*: coarse_label, image\."):
        load(prepared, "tfds:cifar100", label_feature="fine")


def test_images_with_transparency_are_refused(tmp_path):
    prepare_labelled(tmp_path, "emoji", {"train": 8}, (8, 8, 4))
    with pytest.raises(DataError, match=r"'tfds:emoji' have the shape \(8, 8, 4\); allowed: 1 or 3 channels"):
        load(tmp_path, "tfds:emoji")


def test_missing_data_says_where_it_looked_and_what_prepares_it(tmp_path):
    with pytest.raises(DataError) as raised:
        load(tmp_path, "cifar10")
    message = str(raised.value)
    assert f"looked in {tmp_path / 'cifar10'}" in message
    assert message.endswith(f"mpcc prepare cifar10 --config.data.dir={tmp_path}")
    assert "\n" not in message
    with pytest.raises(DataError, match=r"mpcc prepare folder --config.data.name=tfds:celeb_a "):
        load(tmp_path, "tfds:celeb_a")


def test_a_prepared_copy_stands_for_missing_data(prepared, tmp_path):
    config = tiny_config()
    config.data.update({"name": "mnist", "dir": str(tmp_path / "data"), "cache_dir": str(tmp_path / "cache")})
    shutil.copytree(prepared / "mnist", tmp_path / "data" / "mnist")
    first = prepare_dataset(config)
    shutil.rmtree(tmp_path / "data")
    again = load_dataset(config)
    np.testing.assert_array_equal(again.images, first.images)
    assert "the data itself is not there" in again.notes[-1]
    config.data.split = "train"
    with pytest.raises(DataError, match="for a prepared copy"):
        load_dataset(config)


def test_other_contents_under_the_same_version_are_other_data(prepared, tmp_path):
    config = tiny_config()
    config.data.update({"name": "mnist", "dir": str(prepared), "cache_dir": str(tmp_path / "cache")})
    load_dataset(config)
    prepare_labelled(tmp_path / "other", "mnist", {"train": 20, "test": 5})
    config.data.dir = str(tmp_path / "other")
    assert len(load_dataset(config).images) == 25
    config.data.dir = str(tmp_path / "nowhere")
    with pytest.raises(DataError, match="2 prepared copies could stand for it"):
        load_dataset(config)


def test_a_download_that_is_impossible_or_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    config = tiny_config()
    config.data.update({"name": "mnist", "dir": str(tmp_path)})
    with pytest.raises(DataError, match=r"needs TensorFlow.*pip install tensorflow-cpu importlib_resources"):
        prepare_dataset(config)
    fake = SimpleNamespace(
        config=SimpleNamespace(set_visible_devices=lambda *_: None), errors=SimpleNamespace(OpError=KeyError)
    )
    monkeypatch.setitem(sys.modules, "tensorflow", fake)
    with pytest.raises(DataError, match="TensorFlow Datasets knows no 'no_such_data'"):
        download(tmp_path, "no_such_data")

    def fail():
        raise tfds.download.DownloadError("404\nmore lines")

    monkeypatch.setattr(tfds, "builder", lambda *_, **options: SimpleNamespace(download_and_prepare=fail))
    with pytest.raises(DataError, match=r"'mnist' could not be downloaded and prepared in .*: 404$"):
        download(tmp_path, "mnist")


@needs_shared
def test_the_real_mnist():
    dataset = load(SHARED, "mnist", split="test", resolution=32)
    assert dataset.images.shape == (10000, 32, 32, 1)
    np.testing.assert_array_equal(dataset.class_sizes, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert (dataset.pixels.minimum, dataset.pixels.maximum) == (0, 255)
    assert dataset.pixels.mean / 255 == pytest.approx(0.1325, abs=2e-3)


@needs_shared
def test_the_real_cifar10_comes_through_threads_as_one_by_one():
    dataset = load(SHARED, "cifar10", split="test[:2000]", resolution=32)
    source = tfds.data_source("cifar10", split="test[:2000]", data_dir=SHARED, download=False)
    expected = hashlib.sha256(b"".join(source[index]["image"].tobytes() for index in range(2000))).hexdigest()
    assert hashlib.sha256(dataset.images.tobytes()).hexdigest() == expected
    assert dataset.class_names[:3] == ("airplane", "automobile", "bird")
