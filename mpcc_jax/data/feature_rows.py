"""Rows of features as images, for the scikit-learn estimator."""

import math
import numbers
from typing import Any

import numpy as np
from jaxtyping import Shaped, UInt8

from mpcc_jax.errors import DataError


def choose_image_shape(
    count: int, shape: tuple[int, ...] | None, image_shape: Any, *, pad: bool
) -> tuple[int, int, int]:
    """Chooses the shape (H, W, C) of the images that rows of `count` features stand for. Raises DataError if none fits.

    Args:
      count: features of a row.
      shape: (H, W, C) if the rows were images.
      image_shape: (H, W) or (H, W, C) that the user asked for.
      pad: whether rows that fill no square are laid on the smallest that holds them.
    """
    if image_shape is not None:
        chosen = (*image_shape, 1) if len(image_shape) == 2 else tuple(image_shape)
        whole = all(isinstance(size, numbers.Integral) and size > 0 for size in chosen)
        if not whole or len(chosen) != 3 or chosen[2] not in (1, 3):
            raise DataError(f"image_shape is {image_shape!r}; allowed: (H, W), or (H, W, C) with C 1 or 3.")
        if math.prod(chosen) != count or shape not in (None, chosen):
            content = f"rows of {count} features" if shape is None else f"images of shape {shape}"
            raise DataError(f"image_shape is {image_shape!r}, and X holds {content}; allowed: the shape of its images.")
        return tuple(int(size) for size in chosen)
    if shape is not None:
        return shape
    side = math.isqrt(count)
    if side * side == count or pad:
        side += side * side < count
        return side, side, 1
    raise DataError(
        f"X has {count} features, which is no square number; allowed: rows of square gray images. Say what they are by "
        "image_shape=(H, W) or (H, W, C), or lay features that are no pixels on a square: pad_features=True."
    )


def draw_rows(
    rows: Shaped[np.ndarray, "N features"], pixel_range: tuple[float, float], image_shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "N H W C"]:
    """Makes rows 8-bit images: `pixel_range` is black and white, beyond it is clipped, missing features are black."""
    lowest, highest = pixel_range
    if rows.dtype != np.uint8 or pixel_range != (0, 255):
        scaled = (np.clip(rows.astype(np.float64), lowest, highest) - lowest) / (highest - lowest)
        rows = np.round(255 * scaled).astype(np.uint8)
    missing = math.prod(image_shape) - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing))).reshape(-1, *image_shape)
