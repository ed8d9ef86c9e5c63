"""Images that a person gives to a trained model: of any size, 8-bit or in [-1, 1], as the networks take them."""

import numpy as np
from PIL import Image

from mpcc_jax.data.dataset import DataError
from mpcc_jax.data.pixels import fit_array, fit_float_array, fit_picture

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
