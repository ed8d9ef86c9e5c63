"""From any picture to the square 8-bit array that the networks are given."""

import numpy as np
from PIL import Image, ImageOps

FILTER = (
    "bilinear"  # on reduction Pillow widens it to cover the source: antialiased, as torchvision's Resize on pictures
)
GRAY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "F")


def is_gray(image):
    """Whether a picture has one channel of light by its mode; a palette has it if all its colours are gray.

    Args:
      image: a `PIL.Image.Image`.

    Returns:
      A bool.
    """
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return image.mode in GRAY_MODES


def to_8_bit(image, channels, background=255):
    """Gray or RGB with 8 bits, whatever the picture was.

    1-bit pictures come out as 0 and 255; 16-bit ones are scaled by 255 / 65535; transparency is laid on a background.

    Args:
      image: a `PIL.Image.Image`.
      channels: 1 or 3.
      background: gray level from 0 to 255 behind transparent pixels.

    Returns:
      A `PIL.Image.Image` of mode "L" or "RGB".

    Raises:
      ValueError: if a picture of 32 bits holds values outside of 0 to 65535.
    """
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image, np.float64)
        if not (values.min() >= 0 and values.max() <= 65535):
            raise ValueError(f"32-bit pixels from {values.min():g} to {values.max():g}; allowed: 0 to 65535")
        image = Image.fromarray(np.round(values * (255 / 65535)).astype(np.uint8))
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(canvas, image)
    return image.convert(mode)


def crop_square(image):
    """The largest centred square.

    Args:
      image: a `PIL.Image.Image`.

    Returns:
      A `PIL.Image.Image`.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def fit_picture(image, resolution, channels, background=255):
    """Centred square crop of a picture, resized once with antialiasing, turned as its EXIF orientation says.

    Args:
      image: a `PIL.Image.Image`, perhaps not decoded yet.
      resolution: pixels of the side.
      channels: 1 or 3.
      background: gray level from 0 to 255 behind transparent pixels.

    Returns:
      uint8, [resolution, resolution, channels].
    """
    # A JPEG may be decoded at a fraction of its size, as long as twice the resolution is left to the filter.
    image.draft(None, (2 * resolution, 2 * resolution))
    image = crop_square(to_8_bit(ImageOps.exif_transpose(image), channels, background))
    if image.size != (resolution, resolution):
        image = image.resize((resolution, resolution), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(resolution, resolution, channels)


def fit_array(array, resolution):
    """`fit_picture` for an array that is gray or RGB already.

    Args:
      array: uint8, [H, W, C] with C = 1 or 3.
      resolution: pixels of the side.

    Returns:
      uint8, [resolution, resolution, C].
    """
    if array.shape[:2] == (resolution, resolution):
        return array
    channels = array.shape[-1]
    return fit_picture(Image.fromarray(array[..., 0] if channels == 1 else array), resolution, channels)


def fit_float_array(array, resolution):
    """`fit_array` for pixels in [-1, 1], which are not rounded.

    Args:
      array: floats, [H, W, C].
      resolution: pixels of the side.

    Returns:
      float32, [resolution, resolution, C].
    """
    if array.shape[:2] == (resolution, resolution):
        return array.astype(np.float32)
    planes = [
        crop_square(Image.fromarray(np.ascontiguousarray(array[..., c], np.float32))) for c in range(array.shape[-1])
    ]
    return np.stack([plane.resize((resolution, resolution), Image.Resampling.BILINEAR) for plane in planes], axis=-1)
