"""Rows of features as images."""

import numpy as np
import pytest

from mpcc_jax.data.feature_rows import choose_image_shape, draw_rows
from mpcc_jax.errors import DataError


@pytest.mark.parametrize(
    ("count", "shape", "image_shape", "pad", "expected"),
    [
        (64, None, None, False, (8, 8, 1)),
        (60, None, None, True, (8, 8, 1)),
        (48, (4, 4, 3), None, False, (4, 4, 3)),
        (12, None, (3, 4), False, (3, 4, 1)),
        (60, None, None, False, "no square number"),
        (12, None, (3, 5), False, "X holds rows of 12 features"),
        (12, None, (3, 2, 2), False, r"allowed: \(H, W\)"),
    ],
)
def test_shapes(count, shape, image_shape, pad, expected):
    if isinstance(expected, tuple):
        assert choose_image_shape(count, shape, image_shape, pad=pad) == expected
        return
    with pytest.raises(DataError, match=expected):
        choose_image_shape(count, shape, image_shape, pad=pad)


def test_rows_are_scaled_clipped_and_padded_with_black():
    images = draw_rows(np.asarray([[-1.0, 0.0, 9.0]]), (-1.0, 1.0), (2, 2, 1))
    np.testing.assert_array_equal(images.reshape(-1), [0, 128, 255, 0])
