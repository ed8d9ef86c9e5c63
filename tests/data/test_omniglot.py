"""Omniglot100: distinct characters, affine copies, determinism, and the full range of gray from bilevel pictures."""

import numpy as np
import pytest

from mpcc_jax.data import load_dataset
from mpcc_jax.data.omniglot import distort, draw_affine
from mpcc_jax.errors import DataError
from tests.conftest import tiny_config
from tests.tfds_data import SHARED, needs_shared, prepare_omniglot

SMALL = {"small1": {"Greek": [0, 1], "Latin": [2]}, "small2": {"Greek": [0, 1], "Tagalog": [3, 4]}}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    prepare_omniglot(directory, SMALL, bilevel=False)
    return directory


def configure(directory, **omniglot):
    config = tiny_config()
    config.data.update({"name": "omniglot100", "dir": str(directory), "cache": False})
    config.data.omniglot.update({"classes": 4, "copies": 3, **omniglot})
    return config


def test_shared_alphabets_count_once(prepared):
    dataset = load_dataset(configure(prepared, classes=5))
    assert dataset.split == "small1+small2"
    assert dataset.images.shape == (5 * 20 * 3, 8, 8, 1)
    np.testing.assert_array_equal(dataset.class_sizes, [60] * 5)
    assert dataset.class_names == ("Greek 0", "Greek 1", "Latin 2", "Tagalog 3", "Tagalog 4")
    assert "5 of 5 characters of Greek, Latin, Tagalog" in dataset.notes
    with pytest.raises(DataError, match=r"config.data.omniglot.classes is 6; allowed: at most 5"):
        load_dataset(configure(prepared, classes=6))


def test_deterministic_from_the_seed(prepared):
    first, again, other = (load_dataset(configure(prepared, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.images, again.images)
    assert not np.array_equal(first.images, other.images)
    choices = {load_dataset(configure(prepared, seed=seed, classes=2, copies=1)).class_names for seed in range(8)}
    assert len(choices) > 2


@pytest.mark.parametrize("bilevel", [False, True])
def test_copies_differ_unless_nothing_is_distorted(tmp_path, bilevel):
    """From bilevel pictures too, ink and paper span the gray levels."""
    prepare_omniglot(tmp_path, SMALL, bilevel=bilevel)
    dataset = load_dataset(configure(tmp_path))
    copies = dataset.images.reshape(-1, 3, 8 * 8).astype(int)
    assert (np.abs(copies[:, 0] - copies[:, 1]).max(axis=-1) > 0).mean() > 0.9
    assert dataset.pixels.maximum == 255
    assert dataset.pixels.minimum < 128
    copies = load_dataset(configure(tmp_path, probability=0.0)).images.reshape(-1, 3, 8 * 8)
    np.testing.assert_array_equal(copies[:, 0], copies[:, 1])


def test_the_full_data_set_uses_the_four_alphabets_of_imsat(tmp_path):
    alphabets = {"Alphabet_of_the_Magi": [0], "Anglo-Saxon_Futhorc": [1], "Korean": [2], "Greek": [3], "Latin": [4]}
    prepare_omniglot(tmp_path, {"train": alphabets, "small1": {"Greek": [3]}}, bilevel=False)
    dataset = load_dataset(configure(tmp_path))
    assert dataset.split == "train"
    assert {name.split()[0] for name in dataset.class_names} == set(alphabets) - {"Latin"}


def test_affine_maps_stay_in_their_ranges():
    settings = configure("").data.omniglot
    rng = np.random.default_rng(0)
    drawn = [draw_affine(rng, settings) for _ in range(2000)]
    shifts = np.asarray([shift for _, shift in drawn])
    assert 1.9 < np.abs(shifts).max() <= 2.0
    assert 0.45 < (shifts == 0).mean() < 0.55
    only_rotation = configure("", shear=0.0, scale=0.0, shift=0.0, probability=1.0).data.omniglot
    for _ in range(20):
        matrix, _ = draw_affine(rng, only_rotation)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(2), atol=1e-12)
        assert abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))) <= 10


def test_distort_moves_the_ink_where_the_map_says():
    drawing = np.full((41, 41), 255, np.uint8)
    drawing[18:23, 28:33] = 0
    matrix, shift = np.asarray([[0.0, -1.0], [1.0, 0.0]]), np.asarray([3.0, 0.0])
    moved = np.asarray(distort(drawing, matrix, shift)).astype(float)
    ink = 255 - moved
    rows, columns = np.indices(ink.shape)
    # The ink's centre is 10 right of the centre; a quarter turn takes it 10 below, the shift 3 to the right.
    assert (ink * columns).sum() / ink.sum() == pytest.approx(20 + 3, abs=0.1)
    assert (ink * rows).sum() / ink.sum() == pytest.approx(20 + 10, abs=0.1)
    assert moved[0, 0] == 255


@needs_shared
def test_the_real_drawings():
    config = configure(SHARED, classes=100, copies=1)
    config.data.resolution = 32
    dataset = load_dataset(config)
    assert dataset.split == "small1+small2"
    assert dataset.images.shape == (2000, 32, 32, 1)
    np.testing.assert_array_equal(dataset.class_sizes, [20] * 100)
    assert any(note.startswith("100 of 242 characters") for note in dataset.notes)
    # Ink on paper: white corners, strokes that stay dark through the reduction.
    assert dataset.pixels.maximum == 255
    assert dataset.pixels.minimum < 30
    assert np.median(dataset.images[:, 0, 0, 0]) == 255
