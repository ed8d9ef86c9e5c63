"""Images of people: sizes, types and lists, against the path that training data takes."""

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import from_arrays
from mpcc_jax.data.images import as_images
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES

GRAY, COLOUR = (8, 8, 1), (8, 8, 3)
LARGE = np.random.default_rng(1).integers(0, 256, (3, 30, 20, 3)).astype(np.uint8)


def test_images_of_the_right_size_pass_as_they_are():
    assert as_images(SMALL_IMAGES, GRAY) is SMALL_IMAGES
    np.testing.assert_array_equal(as_images(SMALL_IMAGES[..., 0], GRAY), SMALL_IMAGES)
    floats = as_images(SMALL_IMAGES / 127.5 - 1.0, GRAY)
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, SMALL_IMAGES / 127.5 - 1.0, atol=1e-6)


def test_other_sizes_are_resized_as_training_data():
    expected = from_arrays(LARGE, resolution=8).images
    np.testing.assert_array_equal(as_images(LARGE, COLOUR), expected)
    np.testing.assert_array_equal(as_images(list(LARGE), COLOUR), expected)
    np.testing.assert_array_equal(as_images([Image.fromarray(one) for one in LARGE], COLOUR), expected)


def test_floats_are_resized_as_bytes_up_to_rounding():
    floats = as_images(LARGE / 127.5 - 1.0, COLOUR)
    # Pillow rounds 8-bit pixels after each of its two passes.
    np.testing.assert_allclose((floats + 1.0) * 127.5, as_images(LARGE, COLOUR), atol=1.01)
    assert (((floats + 1.0) * 127.5) % 1.0).std() > 0.1, "not rounded"


def test_lists_of_all_sizes():
    mixed = [LARGE[0], LARGE[1][:8, :8], LARGE[2][:5]]
    expected = [from_arrays(one[None], resolution=8).images[0] for one in mixed]
    np.testing.assert_array_equal(as_images(mixed, COLOUR), expected)
    np.testing.assert_array_equal(as_images([one[..., 0] for one in LARGE], GRAY), as_images(LARGE[..., :1], GRAY))


@pytest.mark.parametrize(
    ("images", "shape", "message"),
    [
        (LARGE, GRAY, r"3 channels; allowed: 1 \(gray\)"),
        (SMALL_IMAGES, COLOUR, r"1 channels; allowed: 3 \(RGB\)"),
        (LARGE.transpose(0, 3, 1, 2), COLOUR, "Channels come last"),
        (list(LARGE), GRAY, "3 channels"),
        (SMALL_IMAGES[:0], GRAY, "there are none"),
        ([], GRAY, "empty"),
        (SMALL_IMAGES[0, ..., 0], GRAY, r"One image is images\[None\]"),
        (LARGE[0], COLOUR, r"One image is images\[None\]"),
        (SMALL_IMAGES.astype(int), GRAY, "int64; allowed: uint8"),
        (SMALL_IMAGES * 1.0, GRAY, "from 0 to 255; allowed"),
        (np.full((2, 8, 8, 1), np.nan), GRAY, "128 values that are NaN"),
        ([SMALL_IMAGES[0], SMALL_IMAGES[1] / 255.0], GRAY, "both 8-bit and float"),
        ([np.zeros((2, 3, 4, 1), np.uint8)], GRAY, "an image of the list"),
    ],
)
def test_images_that_cannot_be_used(images, shape, message):
    with pytest.raises(DataError, match=message):
        as_images(images, shape)
