"""Inception's features and logits of many images, in batches of one size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.dataset import check_images
from mpcc_jax.evaluation.inception import IMAGE_SIZE, inception_v3, prepare

DEFAULT_RESIZE = "tf1"
ROUNDING = "round((x + 1) * 127.5), clipped to 0..255"


def to_uint8(images):
    """Generated images as they would be stored: clipped, and rounded to 8 bits.

    Args:
      images: floats in [-1, 1], [..., C].

    Returns:
      uint8 of the same shape: round((x + 1) * 127.5), clipped to 0..255.

    Raises:
      ValueError: if a value is NaN or infinite.
    """
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all():
        raise ValueError(
            f"generated images have {int((~np.isfinite(images)).sum())} values that are NaN or infinite; allowed: "
            "numbers, about -1 to 1. The generator diverged; use an earlier checkpoint."
        )
    return np.clip(np.round((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def extraction_protocol(weights, resize=DEFAULT_RESIZE):
    """What has to be the same for two sets of features to be comparable.

    Args:
      weights: `InceptionWeights`.
      resize: a key of `RESIZES`.

    Returns:
      By name: network (a file name), network_sha256, network_published, resize.
    """
    return {
        "network": weights.file,
        "network_sha256": weights.sha256,
        "network_published": weights.published,
        "resize": resize,
    }


@functools.cache
def _network():
    return jax.jit(inception_v3, compiler_options=compiler_options())


@functools.cache
def _resizer(resize):
    return jax.jit(RESIZES[resize])


def _slices(images, size):
    return (np.asarray(images[start : start + size]) for start in range(0, len(images), size))


def _regroup(batches, size):
    """Batches of any sizes as batches of one size and a last one that may be smaller."""
    held = None
    for batch in batches:
        batch = np.asarray(batch)
        check_images(batch, "images")
        if held is not None and held.shape[1:] != batch.shape[1:]:
            raise ValueError(f"images of shape {batch.shape[1:]} after images of {held.shape[1:]}; allowed: one shape.")
        held = batch if held is None else np.concatenate([held, batch])
        while len(held) >= size:
            yield held[:size]
            held = held[size:]
    if held is not None and len(held):
        yield held


def _prepared_network(weights, resize, batch_size):
    """Features and logits, on the device, of up to a batch of images; the rest of the batch is padding."""
    params = jax.device_put(prepare(weights.params))

    def network(batch):
        padding = np.zeros((batch_size - len(batch), *batch.shape[1:]), np.uint8)
        return _network()(params, _resizer(resize)(np.concatenate([batch, padding])))

    return network


def _run_ahead(network, batches):
    """NumPy results of every batch; while one is fetched, the device has the next."""

    def fetch(results, count):
        return [np.asarray(result)[:count] for result in results]

    pending = None
    for batch in batches:
        running = network(batch), len(batch)
        if pending is not None:
            yield fetch(*pending)
        pending = running
    if pending is not None:
        yield fetch(*pending)


def extract_features(weights, images, resize=DEFAULT_RESIZE, batch_size=50, report=lambda done, total: None):
    """Runs Inception on images, in float32 on every device.

    The last batch is padded, so one program serves all images and later calls.

    Args:
      weights: `InceptionWeights`.
      images: uint8, [N, H, W, C] with C = 1 or 3, perhaps memory-mapped; or an iterable of such arrays of any lengths.
      resize: a key of `RESIZES`.
      batch_size: images per call.
      report: called with (images done, of how many) after each batch; of None if images are an iterable.

    Returns:
      NumPy float32 arrays: features [N, 2048] and logits without bias [N, 1008].

    Raises:
      ValueError: if the resize is unknown, the batch size is not positive, or the images are none, of several shapes or
        of another form.
    """
    if resize not in RESIZES:
        raise ValueError(f"resize={resize!r}; allowed: {', '.join(RESIZES)}.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; allowed: 1 or more.")
    total = None
    if hasattr(images, "shape"):
        check_images(images, "images")
        total, images = len(images), _slices(images, batch_size)
    network, finished, done = _prepared_network(weights, resize, batch_size), [], 0
    for results in _run_ahead(network, _regroup(images, batch_size)):
        finished.append(results)
        done += len(results[0])
        report(done, total)
    if not finished:
        raise ValueError("there are no images to extract features from.")
    features, logits = zip(*finished, strict=True)
    return np.concatenate(features), np.concatenate(logits)


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
