"""The built-in data and the checks on data."""

import numpy as np
import pytest
from sklearn import datasets

from mpcc_jax.data import DataError, Dataset, load_dataset
from tests.conftest import tiny_config

GOOD = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)


def test_digits_are_scikit_learns():
    dataset = load_dataset(tiny_config())
    assert dataset.images.shape == (1797, 8, 8, 1)
    assert (dataset.images.min(), dataset.images.max()) == (0, 255)
    source = datasets.load_digits()
    np.testing.assert_allclose(dataset.images[..., 0] / 255 * 16, source.images, atol=0.04)
    np.testing.assert_array_equal(dataset.labels, source.target)


def test_card_tells_count_shape_range_and_classes():
    card = Dataset("photos", GOOD, np.asarray([0, 1, 1, 1])).card()
    assert card["images"] == "4 of 8x8x1 uint8"
    assert card["classes"].startswith("2 of 1 to 3 images")
    assert f"{GOOD.min()} to {GOOD.max()}" in card["range"]
    assert Dataset("photos", GOOD).card()["classes"] == "no labels"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GOOD[..., 0], None, r"shape \(4, 8, 8\); allowed: \[N, H, H, C\]"),
        (GOOD[:, :6], None, "square"),
        (np.repeat(GOOD, 2, axis=-1), None, "C = 1 or 3"),
        (GOOD / 255.0, None, "float64 from 0 to 1; allowed: uint8"),
        ((GOOD > 128).astype(np.uint8), None, "only take values from 0 to 1"),
        (GOOD[:0], None, "holds no images"),
        (GOOD, np.zeros(3, int), r"allowed: integers of shape \(4,\)"),
        (GOOD, np.zeros(4), "labels of 'photos' are float64"),
    ],
)
def test_bad_arrays_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Dataset("photos", images, labels)


def test_unknown_name_lists_the_known_ones():
    config = tiny_config()
    config.data.name = "minst"
    with pytest.raises(DataError, match=r"config.data.name is 'minst'; allowed: 'digits'"):
        load_dataset(config)
