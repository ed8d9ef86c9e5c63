"""Both resizes against formulas in float64 and PyTorch's interpolate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.evaluation.features import RESIZES
from tests.evaluation.test_inception import GOLDEN, IMAGES

RNG = np.random.RandomState(1)
# In the order in which the golden file's images were drawn.
DRAWN = {shape: RNG.randint(0, 256, (1, *shape)).astype(np.uint8) for shape in ((28, 28, 1), (331, 320, 3))}


def interpolate(images, axis, offset):
    """Takes the two neighbours of every source coordinate; coordinates before the first pixel are the first pixel."""
    size = images.shape[axis]
    source = np.maximum((np.arange(299) + offset) * (size / 299) - offset, 0)
    lower = np.floor(source).astype(int)
    upper = np.minimum(lower + 1, size - 1)
    share = np.expand_dims(source - lower, [other for other in range(4) if other != axis])
    return images.take(lower, axis) * (1 - share) + images.take(upper, axis) * share


def by_formula(images, resize):
    images = np.broadcast_to(images.astype(np.float64), (*images.shape[:3], 3))
    offset = {"tf1": 0.0, "pytorch_fid": 0.5}[resize]
    resized = interpolate(interpolate(images, 1, offset), 2, offset)
    return (resized - 128) / 128 if resize == "tf1" else 2 * resized / 255 - 1


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (8, 5, 3), (331, 320, 3), (299, 299, 1), (1, 1, 1)])
def test_resizes_are_the_formulas(resize, shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    resized = jax.jit(RESIZES[resize])(images)
    assert resized.dtype == jnp.float32
    np.testing.assert_allclose(resized, by_formula(images, resize), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (331, 320, 3)])
def test_pytorch_fid_is_interpolate(shape):
    images = IMAGES[:1] if shape == (32, 32, 3) else DRAWN[shape]
    with np.load(GOLDEN) as golden:
        rows, expected = golden["rows"], golden["interpolate." + "x".join(map(str, shape))]
    rows = rows if len(expected) == len(rows) else rows[[0, 4, 6]]
    # torch computes source coordinates in float32, whose numbers around 300 are 3e-5 apart; pixels differ by up to 2.
    np.testing.assert_allclose(RESIZES["pytorch_fid"](images)[0][rows], expected, rtol=0, atol=1e-4)


def test_tf1_has_no_half_pixel_centres():
    """Destination 0 is source 0, and the last source pixel is repeated."""
    images = np.arange(4, dtype=np.uint8).reshape(1, 4, 1, 1)
    column = np.asarray(RESIZES["tf1"](images))[0, :, 0, 0] * 128 + 128
    np.testing.assert_allclose(column, np.minimum(np.arange(299) * 4 / 299, 3), atol=1e-4)


def test_images_of_the_right_size_stay_as_they_are():
    images = np.random.default_rng(0).integers(0, 256, (1, 299, 299, 3)).astype(np.uint8)
    np.testing.assert_array_equal(RESIZES["tf1"](images), (images.astype(np.float32) - 128) / 128)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    "images", [np.zeros((2, 8, 8, 3), np.float32), np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)]
)
def test_other_arrays_are_refused(resize, images):
    with pytest.raises(ValueError, match=r"allowed: uint8 \[N, H, W, C\]"):
        RESIZES[resize](images)
