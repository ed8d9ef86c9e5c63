"""Strips of small images, for the page and as files: whole pixels, gaps that are transparent."""

import base64
import io
import math
from typing import NamedTuple

import numpy as np

LARGEST_EXACT = 32  # pixels; larger images are compressed with loss, which does not show


class Picture(NamedTuple):
    """An image of the page.

    Attributes:
      uri: a data URI.
      alt: what is on it.
      width, height: pixels of the page, where there is room.
      exact: whether its pixels are enlarged, and have to stay squares.
    """

    uri: str
    alt: str
    width: int
    height: int
    exact: bool


def shrink(images, largest):
    """Makes images smaller that are larger than the page shows them.

    Args:
      images: uint8, [N, H, W, C].
      largest: pixels, of height and width.

    Returns:
      uint8, [N, h, w, C]; the same images if they are small enough.
    """
    from PIL import Image

    images = np.asarray(images)
    count, height, width, channels = images.shape
    if max(height, width) <= largest or not count:
        return images
    size = tuple(max(1, round(side * largest / max(height, width))) for side in (width, height))
    squeezed = [Image.fromarray(image[..., 0] if channels == 1 else image) for image in images]
    resized = [np.asarray(image.resize(size, Image.Resampling.LANCZOS)) for image in squeezed]
    return np.stack(resized).reshape(count, size[1], size[0], channels)


def arrange(images, num_columns, gap=1):
    """Lays images out on a grid, row by row, with transparent gaps and places.

    Args:
      images: uint8, [N, H, W, C], N > 0.
      num_columns: images per row.
      gap: pixels between images.

    Returns:
      uint8 with an opacity channel, [rows * (H + gap) - gap, num_columns * (W + gap) - gap, C + 1].
    """
    images = np.asarray(images)
    count, height, width, channels = images.shape
    num_rows = math.ceil(count / num_columns)
    cells = np.zeros((num_rows * num_columns, height + gap, width + gap, channels + 1), np.uint8)
    cells[:count, :height, :width, :channels] = images
    cells[:count, :height, :width, channels] = 255
    grid = cells.reshape(num_rows, num_columns, height + gap, width + gap, channels + 1).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(num_rows * (height + gap), num_columns * (width + gap), channels + 1)
    return grid[: -gap or None, : -gap or None]


def to_uri(content, kind):
    """Bytes as a data URI.

    Args:
      content: bytes.
      kind: "png" or "webp".

    Returns:
      Text.
    """
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def encode_pixels(pixels, *, exact):
    """Pixels as a data URI.

    Args:
      pixels: uint8 with an opacity channel, [H, W, 2 or 4].
      exact: PNG rather than WebP with loss.

    Returns:
      Text.
    """
    from PIL import Image

    file, picture = io.BytesIO(), Image.fromarray(np.ascontiguousarray(pixels))
    if exact:
        picture.save(file, format="png", optimize=True)
        return to_uri(file.getvalue(), "png")
    picture.convert("RGBA").save(file, format="webp", quality=88, method=4)
    return to_uri(file.getvalue(), "webp")


def make_strip(images, num_columns, room, alt, largest=64, full_row=None):
    """A grid of images as large as there is room for, each pixel a whole number of the page's.

    Args:
      images: uint8, [N, H, W, C], N > 0.
      num_columns: images per row.
      room: pixels of the page, for the width of a full row.
      alt: what is on it.
      largest: pixels of the page that an image is enlarged to at most.
      full_row: images of a full row, where those of other strips are longer; None is `num_columns`.

    Returns:
      A `Picture`.
    """
    full_row = full_row or num_columns
    images = shrink(images, max(1, min(largest, room // full_row - 1)))
    side = max(images.shape[1:3])
    factor = max(1, min(room // (full_row * (images.shape[2] + 1) - 1), largest // side))
    pixels = arrange(images, min(num_columns, len(images)))
    exact = side <= LARGEST_EXACT
    height, width = pixels.shape[:2]
    return Picture(encode_pixels(pixels, exact=exact), alt, width * factor, height * factor, factor > 1)


def save_strip(path, images, num_columns, side=96):
    """Writes images on a grid as a PNG, enlarged by a whole factor to about a size.

    Args:
      path: of the file.
      images: uint8, [N, H, W, C], N > 0.
      num_columns: images per row.
      side: pixels that an image is enlarged to at least.
    """
    from PIL import Image

    factor = math.ceil(side / max(np.shape(images)[1:3]))
    enlarged = np.repeat(np.repeat(images, factor, axis=1), factor, axis=2)
    pixels = arrange(enlarged, num_columns, gap=max(2, side // 16))
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, optimize=True)
