"""From 8-bit images to the input of Inception, in the two ways that published figures were made with."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.evaluation.inception import IMAGE_SIZE


def _interpolation_matrix(size, half_pixel_centres):
    """Bilinear weights [299, size] without antialiasing; rows sum to one, the border pixel is repeated beyond it."""
    offset = 0.5 if half_pixel_centres else 0.0
    source = (np.arange(IMAGE_SIZE) + offset) * size / IMAGE_SIZE - offset
    source = np.clip(source, 0, size - 1)
    distance = np.abs(source[:, None] - np.arange(size)[None])
    return np.maximum(1.0 - distance, 0.0).astype(np.float32)


def _resize(images, half_pixel_centres):
    """uint8 [N, H, W, C] to float32 [N, 299, 299, 3] of the same range."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != jnp.uint8:
        raise ValueError(
            f"images are {images.dtype} of shape {tuple(images.shape)}; allowed: uint8 [N, H, W, C] with C = 1 or 3."
        )
    rows, columns = (_interpolation_matrix(size, half_pixel_centres) for size in images.shape[1:3])
    values = images.astype(jnp.float32)
    # At lower precision pixels would be rounded to 8 bits of mantissa.
    precision = jax.lax.Precision.HIGHEST
    values = jnp.einsum("ph,nhwc->npwc", rows, values, precision=precision)
    values = jnp.einsum("qw,npwc->npqc", columns, values, precision=precision)
    return jnp.broadcast_to(values, (*values.shape[:3], 3))


def resize_tf1(images):
    """As TensorFlow 1 did inside the graph of 2015: the FID of TTUR and the original Inception Score.

    `ResizeBilinear` with align_corners=False and without half-pixel centres: source = destination * size / 299. It
    shifts an enlarged image by up to half a pixel of its own and repeats the last row and column.

    Args:
      images: uint8, [N, H, W, C] with C = 1 (repeated) or 3.

    Returns:
      (resized - 128) / 128, float32, [N, 299, 299, 3].

    Raises:
      ValueError: if they are something else.
    """
    return (_resize(images, half_pixel_centres=False) - 128.0) / 128.0


def resize_pytorch_fid(images):
    """As pytorch-fid does: bilinear with half-pixel centres and no antialiasing.

    Args:
      images: uint8, [N, H, W, C] with C = 1 (repeated) or 3.

    Returns:
      2 resized / 255 - 1, float32, [N, 299, 299, 3].

    Raises:
      ValueError: if they are something else.
    """
    return _resize(images, half_pixel_centres=True) * (2.0 / 255.0) - 1.0


RESIZES = {"tf1": resize_tf1, "pytorch_fid": resize_pytorch_fid}
