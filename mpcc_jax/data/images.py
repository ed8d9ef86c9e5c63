"""From any picture or array to the square images of one size that the networks are given."""

import struct
import warnings
from collections.abc import Sequence
from os import PathLike

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import ArrayLike
from PIL import ExifTags, Image, ImageMode

from mpcc_jax.data.dataset import CHANNELS_LAST, ONE_IMAGE, add_channels, describe_extent, how_to_convert
from mpcc_jax.errors import DataError

# On reduction Pillow widens it to cover the source: antialiased, as torchvision's Resize on pictures.
FILTER = "bilinear"
ALLOWED = "uint8 from 0 to 255, or floats from -1 to 1"
ROWS = " One gray image is images[None, :, :, None]; rows of pixels are images.reshape(N, H, W, C)."
TOLERANCE = 1e-3
# What Pillow raises for EXIF blocks that it cannot read, and what it says of damaged ones where warnings are errors.
EXIF_DAMAGE = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, struct.error),
    UserWarning,
)
ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def is_gray(image: Image.Image) -> bool:
    """Tells by its mode, or the colours of its palette, whether a picture is gray."""
    if image.mode in ("P", "PA"):
        palette = np.asarray(image.getpalette() or [0, 0, 0]).reshape(-1, 3)
        return bool((palette == palette[:, :1]).all())
    return ImageMode.getmode(image.mode).basemode == "L"


def to_8_bit(image: Image.Image, channels: int, background: int = 255) -> Image.Image:
    """Converts a picture of any mode to "L" (1 channel) or "RGB" (3 channels).

    1-bit pictures become 0 and 255; 16-bit ones are scaled by 255 / 65535; transparency is laid on a gray background.
    Raises ValueError if a picture of 32 bits holds values outside of 0 to 65535.
    """
    if image.mode.startswith("I") or image.mode == "F":
        values, clear = np.asarray(image, np.float64), image.info.get("transparency")
        if not (values.min() >= 0 and values.max() <= 65535):
            raise ValueError(f"32-bit pixels from {values.min():g} to {values.max():g}; allowed: 0 to 65535")
        image = Image.fromarray(np.round(values * (255 / 65535)).astype(np.uint8))
        if isinstance(clear, int):
            image.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    if image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        canvas = Image.new("RGBA", image.size, (background, background, background, 255))
        image = Image.alpha_composite(canvas, image.convert("RGBA"))
    return image.convert("L" if channels == 1 else "RGB")


def resize_square(image: Image.Image, resolution: int) -> Image.Image:
    """Crops a picture to its largest centred square and resizes it once, with antialiasing."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    if width != height:
        image = image.crop((left, top, left + side, top + side))
    return image if side == resolution else image.resize((resolution, resolution), Image.Resampling.BILINEAR)


def fit_picture(
    image: Image.Image, resolution: int, channels: int, background: int = 255
) -> UInt8[np.ndarray, "H H C"]:
    """Turns a picture as its EXIF orientation says, converts it (`to_8_bit`), crops it to a square and resizes it."""
    image = to_8_bit(_turn(image), channels, background)
    return np.asarray(resize_square(image, resolution)).reshape(resolution, resolution, channels)


def _turn(image: Image.Image) -> Image.Image:
    """As `ImageOps.exif_transpose`, which writes the EXIF block again and fails where that is malformed."""
    image.load()
    try:
        method = ORIENTATIONS.get(image.getexif().get(ExifTags.Base.Orientation))
    except EXIF_DAMAGE:
        method = None
    return image if method is None else image.transpose(method)


def read_picture(
    path: str | PathLike, resolution: int, channels: int, background: int = 255
) -> UInt8[np.ndarray, "H H C"]:
    """Reads a file and fits it (`fit_picture`)."""
    with Image.open(path) as image:
        # A JPEG may be decoded at a fraction of its size, as long as twice the resolution is left to the filter.
        image.draft(None, (2 * resolution, 2 * resolution))
        return fit_picture(image, resolution, channels, background)


def fit_array(array: UInt8[np.ndarray, "H W C"], resolution: int) -> UInt8[np.ndarray, "R R C"]:
    """Crops and resizes a gray or RGB image as `fit_picture` does."""
    if array.shape[:2] == (resolution, resolution):
        return array
    channels = array.shape[-1]
    return fit_picture(Image.fromarray(array[..., 0] if channels == 1 else array), resolution, channels)


def fit_float_array(array: Float[np.ndarray, "H W C"], resolution: int) -> Float[np.ndarray, "R R C"]:
    """Crops and resizes pixels in [-1, 1], which are not rounded; float32."""
    if array.shape[:2] == (resolution, resolution):
        return array.astype(np.float32)
    planes = [Image.fromarray(plane) for plane in np.ascontiguousarray(array.transpose(2, 0, 1), np.float32)]
    return np.stack([resize_square(plane, resolution) for plane in planes], axis=-1)


def as_images(images: ArrayLike | Sequence, image_shape: tuple[int, int, int], background: int = 255) -> np.ndarray:
    """Checks images and resizes them as those that a model was trained on.

    Args:
      images: an array [N, H, W, C], for gray models [N, H, W] too; or a list of arrays [H, W, C] and Pillow images of
        any sizes. uint8, or floats in [-1, 1].
      image_shape: (H, W, C) of the model.
      background: gray level behind transparent pixels of Pillow images.

    Returns:
      uint8 or float32 in [-1, 1], [N, *image_shape].

    Raises:
      DataError: says what was given and what is allowed.
    """
    resolution, _, channels = image_shape
    if isinstance(images, list | tuple):
        if not images:
            raise DataError("the list of images is empty; allowed: at least one.")
        fitted = [_fit_member(image, resolution, channels, background) for image in images]
        if len({image.dtype for image in fitted}) > 1:
            raise DataError(f"the list has both 8-bit and float images; allowed: all {ALLOWED}.")
        stacked = np.stack(fitted)
        warn_of_range(stacked)
        return stacked
    array = add_channels(np.asarray(images)) if channels == 1 else np.asarray(images)
    if array.ndim != 4 or 0 in array.shape:
        hint = {2: ROWS, 3: ONE_IMAGE}.get(array.ndim, "")
        raise DataError(f"images have shape {array.shape}; allowed: [N, H, W, {channels}] with N > 0.{hint}")
    _check_pixels(array, channels)
    warn_of_range(array)
    if array.shape[1:3] == (resolution, resolution):
        return array if array.dtype == np.uint8 else array.astype(np.float32)
    return np.stack([_fit(image, resolution) for image in array])


def warn_of_range(images: np.ndarray) -> None:
    """Warns of pixels that go from 0 to 1, where 0 to 255 or -1 to 1 is meant by their type."""
    lowest, highest = images.min(), images.max()
    if not (0 <= lowest < highest <= 1):
        return
    if images.dtype == np.uint8:
        text = "uint8 pixels are 0 and 1 alone, which is nearly black; if 1 is white, give 255 * images"
    else:
        text = (
            f"float pixels go from {lowest:g} to {highest:g}, where -1 is black and 0 is gray; if 0 is black, give "
            "2 * images - 1"
        )
    warnings.warn(f"{text}.", stacklevel=3)


def _fit_member(image: ArrayLike | Image.Image, resolution: int, channels: int, background: int) -> np.ndarray:
    if isinstance(image, Image.Image):
        return fit_picture(image, resolution, channels, background)
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"an image of the list has shape {np.shape(image)}; allowed: [H, W, {channels}].")
    _check_pixels(array, channels)
    return _fit(array, resolution)


def _fit(array: np.ndarray, resolution: int) -> np.ndarray:
    return fit_array(array, resolution) if array.dtype == np.uint8 else fit_float_array(array, resolution)


def _check_pixels(images: np.ndarray, channels: int) -> None:
    shape = images.shape
    if shape[-1] != channels:
        hint = CHANNELS_LAST if len(shape) == 4 and shape[1] == channels else ""
        text = f"images have shape {shape}, so {shape[-1]} channels; allowed: {channels}, as this model was trained on."
        raise DataError(text + hint)
    if images.dtype == np.uint8:
        return
    if not np.issubdtype(images.dtype, np.floating):
        kind = f"{images.dtype}{describe_extent(images)}"
        raise DataError(f"images are {kind}; allowed: {ALLOWED}.{how_to_convert(images)}")
    if not np.isfinite(images).all():
        raise DataError(f"images hold {int((~np.isfinite(images)).sum())} values that are NaN or infinite.")
    lowest, highest = images.min(), images.max()
    if lowest < -1.0 - TOLERANCE or highest > 1.0 + TOLERANCE:
        raise DataError(
            f"images are {images.dtype} from {lowest:g} to {highest:g}; allowed: {ALLOWED}. Pixels from 0 to 255 go by "
            "images.astype('uint8'), from 0 to 1 by 2 * images - 1."
        )
