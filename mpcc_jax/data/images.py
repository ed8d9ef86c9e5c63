"""From any picture to the square 8-bit array that the networks are given."""

import numpy as np
from PIL import Image, ImageOps

from mpcc_jax.errors import DataError

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


ALLOWED = "uint8 from 0 to 255, or floats from -1 to 1"
TOLERANCE = 1e-3


def _check_values(images):
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(f"images are {images.dtype}; allowed: {ALLOWED}. Convert by images.astype('uint8').")
    if not np.isfinite(images).all():
        raise DataError(f"images hold {int((~np.isfinite(images)).sum())} values that are NaN or infinite.")
    lowest, highest = float(images.min()), float(images.max())
    if lowest < -1.0 - TOLERANCE or highest > 1.0 + TOLERANCE:
        raise DataError(
            f"images are {images.dtype} from {lowest:g} to {highest:g}; allowed: {ALLOWED}. Pixels from 0 to 255 go by "
            "images.astype('uint8'), from 0 to 1 by 2 * images - 1."
        )


def _check_channels(found, channels, shape):
    if found != channels:
        kinds = {1: "1 (gray)", 3: "3 (RGB)"}
        hint = " Channels come last: images.transpose(0, 2, 3, 1)." if len(shape) == 4 and shape[1] == channels else ""
        raise DataError(
            f"images have shape {tuple(shape)}, so {found} channels; allowed: {kinds[channels]}, as this model was "
            f"trained on.{hint}"
        )


def _fit(array, resolution):
    return fit_array(array, resolution) if array.dtype == np.uint8 else fit_float_array(array, resolution)


def _fit_one(image, resolution, channels):
    """One picture or array of a list."""
    if isinstance(image, Image.Image):
        return fit_picture(image, resolution, channels)
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"an image of the list has shape {np.shape(image)}; allowed: [H, W, {channels}].")
    _check_channels(array.shape[-1], channels, array.shape)
    _check_values(array)
    return _fit(array, resolution)


def as_images(images, image_shape):
    """Images as the networks of a model take them, resized as those that it was trained on.

    Args:
      images: an array [N, H, W, C], for gray models [N, H, W] too; or a list of arrays [H, W, C] and Pillow images of
        any sizes. uint8, or floats in [-1, 1]. Other sizes are cropped to the centred square and resized once with
        antialiasing.
      image_shape: (H, W, C) of the model.

    Returns:
      uint8 or float32 in [-1, 1], [N, *image_shape].

    Raises:
      DataError: says what was given and what is allowed.
    """
    resolution, _, channels = image_shape
    if isinstance(images, list | tuple):
        if not images:
            raise DataError("the list of images is empty; allowed: at least one.")
        fitted = [_fit_one(image, resolution, channels) for image in images]
        if len({image.dtype for image in fitted}) > 1:
            raise DataError(f"the list has both 8-bit and float images; allowed: all {ALLOWED}.")
        return np.stack(fitted)
    array = np.asarray(images)
    if array.ndim == 3 and channels == 1:
        array = array[..., None]
    if array.ndim != 4:
        hint = " One image is images[None]." if array.ndim in (2, 3) else ""
        raise DataError(f"images have shape {array.shape}; allowed: [N, H, W, {channels}].{hint}")
    if 0 in array.shape:
        raise DataError(f"images have shape {array.shape}, so there are none; allowed: at least one.")
    _check_channels(array.shape[-1], channels, array.shape)
    _check_values(array)
    if array.shape[1:3] == (resolution, resolution):
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    return np.stack([_fit(image, resolution) for image in array])
