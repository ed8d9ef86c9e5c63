"""What a data set is checked for, and what its card says."""

import json

import numpy as np
import pytest

from mpcc_jax.data import Dataset
from mpcc_jax.data.dataset import Block, measure_pixels
from mpcc_jax.errors import DataError

GOOD = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1)).astype(np.uint8)


def test_the_data_card_for_people_and_for_machines():
    labels, names = np.asarray([0, 1, 1, 1]), ("cat", "dog")
    dataset = Dataset("photos", GOOD, labels, names, "1.2", "train", "/data", ("a note",))
    assert dataset.card() == {
        "name": "photos 1.2",
        "split": "train",
        "images": "4 of 8x8x1 uint8",
        "range": f"{GOOD.min()} to {GOOD.max()}, mean {GOOD.mean():.1f}",
        "classes": "2 of 1 to 3 images (labels only for scores): cat 1, dog 3",
        "from": "/data",
        "notes": "a note",
    }
    assert Dataset("photos", GOOD).card()["classes"] == "no labels"
    facts = json.loads(json.dumps(Dataset("photos", GOOD, np.asarray([0, 2, 2, 2])).facts()))
    assert (facts["count"], facts["shape"], facts["labels"]) == (4, [8, 8, 1], {"0": 1, "1": 0, "2": 3})
    assert facts["range"]["mean"] == pytest.approx(GOOD.mean())
    assert Dataset("photos", GOOD).facts()["labels"] is None


def test_data_sets_and_blocks_are_compared_by_identity():
    """Their arrays have no single truth value."""
    for first, second in [(Dataset("a", GOOD), Dataset("a", GOOD)), (Block(GOOD), Block(GOOD))]:
        assert first == first
        assert first != second


def test_pixels_are_measured_over_all_blocks(monkeypatch):
    monkeypatch.setattr("mpcc_jax.data.dataset.BLOCK", 3)
    assert measure_pixels(GOOD) == (GOOD.min(), GOOD.max(), pytest.approx(GOOD.mean()))


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (GOOD, np.asarray([0, 1, 2, 2]), "go from 0 to 2; allowed: 0 to 1, the classes named"),
        (GOOD[..., 0], None, r"shape \(4, 8, 8\); allowed: \[N, H, W, C\]"),
        (GOOD.transpose(0, 3, 1, 2), None, "Channels come last: images.transpose"),
        (GOOD[:, :6], None, "square"),
        (np.repeat(GOOD, 2, axis=-1), None, "C = 1 or 3"),
        (np.where(GOOD > 250, np.nan, GOOD), None, f"float64, {(GOOD > 250).sum()} of them NaN; allowed: uint8"),
        ((GOOD > 128).astype(np.uint8), None, "only take values from 0 to 1"),
        (GOOD[:0], None, "holds no images"),
        (GOOD, np.zeros(3, int), r"allowed: integers of shape \(4,\)"),
        (GOOD, np.zeros(4), "labels of 'photos' are float64"),
        (GOOD, np.asarray([0, 1, -1, 0]), "go from -1 to 1; allowed: 0 to 1"),
        (GOOD, np.ones(4, int), r"have the label 'dog', so .* --config.data.labels=False"),
    ],
)
def test_bad_arrays_are_refused(images, labels, message):
    with pytest.raises(DataError, match=message):
        Dataset("photos", images, labels, ("cat", "dog"))
