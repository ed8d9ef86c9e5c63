"""Random crops and mirroring: by hand, off by default, a function of the key and the iteration."""

import jax
import numpy as np
import pytest

from mpcc_jax.data.augmentation import Augmentation, augment, draw_augmentation
from mpcc_jax.data.loader import Examples
from mpcc_jax.training import steps as iteration
from mpcc_jax.training.state import build_algorithm
from tests.conftest import tiny_config

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 6, 6, 1)).astype(np.uint8)
EXAMPLES = Examples(IMAGES, np.arange(6).reshape(2, 3))


def test_nothing_by_default():
    draws = draw_augmentation(Augmentation(), KEY, 0, (2, 3))
    assert draws == (None, None)
    assert augment(Augmentation(), EXAMPLES, *draws).images is IMAGES


def test_crops_of_a_reflected_border_as_numpy_makes_them():
    chosen = Augmentation(crop_padding=2)
    offsets, mirrored = draw_augmentation(chosen, KEY, 0, (2, 3))
    assert mirrored is None
    augmented = augment(chosen, EXAMPLES, offsets, mirrored)
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    for i, j in np.ndindex(2, 3):
        row, column = offsets[i, j]
        expected = padded[i, j, row : row + 6, column : column + 6]
        np.testing.assert_array_equal(augmented.images[i, j], expected)
    np.testing.assert_array_equal(augmented.labels, EXAMPLES.labels)


def test_mirroring():
    mirrored = np.asarray([[True, False, False], [False, True, True]])
    images = augment(Augmentation(flip=True), EXAMPLES, None, mirrored).images
    for i, j in np.ndindex(2, 3):
        np.testing.assert_array_equal(images[i, j], IMAGES[i, j, :, ::-1] if mirrored[i, j] else IMAGES[i, j])


def test_draws_cover_their_range_and_follow_the_iteration():
    chosen = Augmentation(4, True)
    offsets, mirrored = draw_augmentation(chosen, KEY, 5, (40, 50))
    assert (offsets.min(), offsets.max()) == (0, 8)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.05)
    again, other = (draw_augmentation(chosen, KEY, number, (40, 50)) for number in (5, 6))
    np.testing.assert_array_equal(offsets, again[0])
    assert not np.array_equal(offsets, other[0])


def test_training_sees_augmented_images(monkeypatch, state):
    """`train_iterations` with a step that only returns what it was given."""
    config = tiny_config()
    config.data.update({"crop_padding": 2, "flip": True})
    algorithm = build_algorithm(config, 1)
    monkeypatch.setattr(iteration, "train_iteration", lambda algorithm, state, batch, noise: (state, batch.images))
    monkeypatch.setattr(iteration, "summarize", lambda algorithm, images: {"images": images})
    rng = np.random.default_rng(0)
    examples = Examples(rng.integers(0, 256, (1, 2, 8, 8, 8, 1)).astype(np.uint8), None)
    _, seen = iteration.train_iterations(algorithm, state, examples, KEY)
    draws = draw_augmentation(algorithm.augmentation, KEY, 0, (2, 8))
    expected = augment(algorithm.augmentation, Examples(examples.images[0], None), *draws).images
    np.testing.assert_allclose(seen["images"][0], np.asarray(expected) / 127.5 - 1.0, atol=1e-6)
