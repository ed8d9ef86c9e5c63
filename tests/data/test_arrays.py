"""Arrays from files and from Python, and the built-in digits."""

import numpy as np
import pytest
from sklearn import datasets

from mpcc_jax.data import from_arrays, load_dataset
from mpcc_jax.errors import DataError
from tests.conftest import tiny_config

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3)).astype(np.uint8)
LABELS = np.asarray([2, 0, 1, 1, 0, 2])


def load_npz(path, **settings):
    config = tiny_config()
    config.data.update({"name": f"npz:{path}", "cache": False, **settings})
    return load_dataset(config)


def test_digits_are_scikit_learns():
    config = tiny_config()
    dataset, source = load_dataset(config), datasets.load_digits()
    assert dataset.images.shape == (1797, 8, 8, 1)
    assert (dataset.pixels.minimum, dataset.pixels.maximum) == (0, 255)
    np.testing.assert_allclose(dataset.images[..., 0] / 255 * 16, source.images, atol=0.04)
    np.testing.assert_array_equal(dataset.labels, source.target)
    config.data.update({"resolution": 16, "labels": False})
    dataset = load_dataset(config)
    assert dataset.images.shape == (1797, 16, 16, 1)
    assert dataset.labels is None


def test_npz_round_trip(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    dataset = load_npz(tmp_path / "mine.npz")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.name == "npz:mine"
    assert load_npz(tmp_path / "mine.npz", labels=False).labels is None
    np.savez_compressed(tmp_path / "gray.npz", images=np.repeat(np.repeat(IMAGES[..., 0], 3, axis=1), 4, axis=2))
    dataset = load_npz(tmp_path / "gray.npz")
    assert dataset.images.shape == (6, 8, 8, 1)
    assert dataset.labels is None


def test_bad_files_are_refused(tmp_path):
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", IMAGES)
    np.savez(tmp_path / "cut.npz", images=IMAGES)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:500])
    np.savez(tmp_path / "objects.npz", images=np.asarray([IMAGES[0], IMAGES[1][:4]], dtype=object))
    np.savez(tmp_path / "other.npz", pictures=IMAGES)
    np.savez(tmp_path / "floats.npz", images=IMAGES.astype(np.float32))
    messages = {
        "text.npz": "cannot be read",
        "one.npy": "is one array",
        "cut.npz": "cannot be read",
        "objects.npz": "it holds Python objects, which are never unpickled",
        "other.npz": "holds 'pictures'; allowed: 'images'",
        "floats.npz": "are float32 from 0 to 255",
        "missing.npz": "there is no such file; allowed: npz:PATH",
    }
    for name, message in messages.items():
        with pytest.raises(DataError, match=message):
            load_npz(tmp_path / name)


def test_arrays_from_python():
    dataset = from_arrays(IMAGES, LABELS, class_names=("a", "b", "c"), name="mine")
    np.testing.assert_array_equal(dataset.images, IMAGES)
    assert dataset.card()["classes"].endswith("a 2, b 2, c 2")
    assert from_arrays(IMAGES[..., 0], resolution=16).images.shape == (6, 16, 16, 1)
    dataset = from_arrays(IMAGES, ["dog", "ant", "cat", "cat", "ant", "dog"])
    np.testing.assert_array_equal(dataset.labels, LABELS)
    assert dataset.class_names == ("ant", "cat", "dog")
    with pytest.raises(DataError, match="allowed: uint8"):
        from_arrays(IMAGES / 255)


@pytest.mark.parametrize(
    ("ids", "names"),
    [
        ([1440764, 2084071, 15075141], ("1440764", "2084071", "15075141")),
        ([5, 2**32 + 5, 7], ("5", "7", "4294967301")),
        (np.asarray([1, 2, 2**63 + 1], np.uint64), ("1", "2", "9223372036854775809")),
        ([b"cat", b"dog", b"\xff"], ("cat", "dog", "\udcff")),
    ],
)
def test_labels_that_are_ids_are_classes(ids, names):
    which = np.arange(12) % 3
    dataset = from_arrays(
        np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.uint8), np.asarray(ids)[which]
    )
    assert (dataset.class_names, dataset.class_sizes.tolist()) == (names, [4, 4, 4])
    order = [
        names.index(str(value)) if not isinstance(value, bytes) else "cd\udcff".index(name[0])
        for value, name in zip(ids, ("cat", "dog", "\udcff"), strict=True)
    ]
    np.testing.assert_array_equal(dataset.labels, np.asarray(order)[which])


def test_gaps_of_few_classes_stay():
    dataset = from_arrays(np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None], [0, 2, 2, 2])
    assert (dataset.class_names, dataset.class_sizes.tolist()) == (None, [1, 0, 3])


@pytest.mark.parametrize(
    "labels",
    [np.arange(12) % 3 - 1, np.arange(12) / 1.0, np.arange(12) % 2 == 0, np.eye(12, 3, dtype=int), [None] * 12],
)
def test_labels_of_another_kind_are_refused(labels):
    with pytest.raises(DataError, match="labels"):
        from_arrays(np.random.default_rng(0).integers(0, 256, (12, 8, 8)).astype(np.uint8), labels)
