"""Rows of features as images, for the scikit-learn estimator."""

import math
import numbers

import numpy as np

from mpcc_jax.errors import DataError


def choose_image_shape(count, found, wanted, *, pad):
    """The images that rows stand for.

    Args:
      count: features of a row.
      found: (H, W, C) if the rows were images, else None.
      wanted: (H, W) or (H, W, C) that was asked for, or None.
      pad: whether rows that fill no square are laid on the smallest that holds them.

    Returns:
      (H, W, C).

    Raises:
      DataError: if there are no such images.
    """
    if wanted is not None:
        shape = (*wanted, 1) if len(wanted) == 2 else tuple(wanted)
        whole = all(isinstance(size, numbers.Integral) and size > 0 for size in shape)
        if not whole or len(shape) != 3 or shape[2] not in (1, 3):
            raise DataError(f"image_shape is {wanted!r}; allowed: (H, W), or (H, W, C) with C 1 or 3.")
        if math.prod(shape) != count or found not in (None, shape):
            given = f"rows of {count} features" if found is None else f"images of shape {found}"
            raise DataError(f"image_shape is {wanted!r}, and X holds {given}; allowed: the shape of its images.")
        return shape
    side = math.isqrt(count)
    if found is not None:
        return found
    if side * side == count or pad:
        side += side * side < count
        return side, side, 1
    raise DataError(
        f"X has {count} features, which is no square number; allowed: rows of square gray images. Say what they are by "
        "image_shape=(H, W) or (H, W, C), or lay features that are no pixels on a square: pad_features=True."
    )


def draw_rows(rows, pixel_range, image_shape):
    """Rows as 8-bit images; what rows are too short for is black.

    Args:
      rows: numbers, [N, features].
      pixel_range: values that are black and white; beyond them is clipped.
      image_shape: (H, W, C).

    Returns:
      uint8, [N, H, W, C].
    """
    lowest, highest = pixel_range
    if rows.dtype != np.uint8 or pixel_range != (0, 255):
        scaled = (np.clip(rows.astype(np.float64), lowest, highest) - lowest) / (highest - lowest)
        rows = np.round(255 * scaled).astype(np.uint8)
    missing = math.prod(image_shape) - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing))).reshape(-1, *image_shape)
