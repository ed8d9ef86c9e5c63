"""Inception's features and logits of many images, in batches of one size."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.dataset import check_images
from mpcc_jax.errors import DataError, InputError
from mpcc_jax.evaluation.inception import IMAGE_SIZE, inception_v3, prepare
from mpcc_jax.evaluation.inception_weights import InceptionWeights

DEFAULT_RESIZE = "tf1"
ROUNDING = "round((x + 1) * 127.5), clipped to 0..255"


def to_uint8(images: Float[Array | np.ndarray, "..."]) -> UInt8[np.ndarray, "..."]:
    """Rounds generated images to 8 bits, as they would be stored; raises DataError if a value is not finite."""
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all():
        raise DataError(
            f"generated images have {int((~np.isfinite(images)).sum())} values that are NaN or infinite; allowed: "
            "numbers, about -1 to 1. The generator diverged; use an earlier checkpoint."
        )
    return np.clip(np.round((images + 1.0) * 127.5), 0, 255).astype(np.uint8)


def extraction_protocol(weights: InceptionWeights, resize: str = DEFAULT_RESIZE) -> dict:
    """Lists what has to be the same for two sets of features to be comparable; `resize` is a key of `RESIZES`."""
    return {
        "network": weights.file,
        "network_sha256": weights.sha256,
        "network_published": weights.published,
        "resize": resize,
    }


@functools.cache
def _network() -> Callable:
    return jax.jit(inception_v3, compiler_options=compiler_options())


def _regroup(batches: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Batches of any sizes as batches of one size and a last one that may be smaller."""
    kept = None
    for batch in batches:
        batch = np.asarray(batch)
        check_images(batch, "images")
        if kept is not None and kept.shape[1:] != batch.shape[1:]:
            raise DataError(f"images of shape {batch.shape[1:]} after images of {kept.shape[1:]}; allowed: one shape.")
        kept = batch if kept is None else np.concatenate([kept, batch])
        while len(kept) >= size:
            yield kept[:size]
            kept = kept[size:]
    if kept is not None and len(kept):
        yield kept


def extract_features(
    weights: InceptionWeights,
    images: UInt8[np.ndarray, "N H W C"] | Iterable[np.ndarray],
    resize: str = DEFAULT_RESIZE,
    batch_size: int = 50,
    progress: Callable[[int, int | None], None] = lambda done, total: None,
) -> tuple[Float[np.ndarray, "N 2048"], Float[np.ndarray, "N 1008"]]:
    """Runs Inception on images, in float32 on every device; returns features, and logits without bias.

    Args:
      weights: of the network.
      images: C = 1 or 3, perhaps memory-mapped; or an iterable of such arrays of any lengths.
      resize: a key of `RESIZES`, else InputError.
      batch_size: images per call; the last call is padded, so one program serves all.
      progress: called with (images done, of how many), None where images are an iterable.

    Raises:
      DataError: if the images are none, of several shapes or of another form.
    """
    if resize not in RESIZES:
        raise InputError(f"resize={resize!r}; allowed: {', '.join(RESIZES)}.")
    total = None
    if hasattr(images, "shape"):
        check_images(images, "images")
        total, array = len(images), images
        images = (array[start : start + batch_size] for start in range(0, total, batch_size))
    params, running, finished, done = jax.device_put(prepare(weights.params)), None, [], 0
    for batch in itertools.chain(_regroup(images, batch_size), [None]):
        previous, running = running, None
        if batch is not None:
            padding = np.zeros((batch_size - len(batch), *batch.shape[1:]), np.uint8)
            running = len(batch), _network()(params, RESIZES[resize](np.concatenate([batch, padding])))
        if previous is not None:  # while its results are fetched, the device has the next batch
            count, results = previous
            finished.append([np.asarray(result)[:count] for result in results])
            done += count
            progress(done, total)
    if not finished:
        raise DataError("there are no images to extract features from.")
    features, logits = zip(*finished, strict=True)
    return np.concatenate(features), np.concatenate(logits)


def _interpolation_matrix(size: int, half_pixel_centres: bool) -> Float[np.ndarray, "299 size"]:
    """Bilinear weights without antialiasing; rows sum to one, the border pixel is repeated beyond it."""
    offset = 0.5 if half_pixel_centres else 0.0
    source = (np.arange(IMAGE_SIZE) + offset) * size / IMAGE_SIZE - offset
    source = np.clip(source, 0, size - 1)
    distance = np.abs(source[:, None] - np.arange(size)[None])
    return np.maximum(1.0 - distance, 0.0).astype(np.float32)


def _resize(images: Array | np.ndarray, half_pixel_centres: bool) -> Float[Array, "N 299 299 3"]:
    """Resizes to float32 of the same range; a single channel is repeated."""
    rows, columns = (_interpolation_matrix(size, half_pixel_centres) for size in images.shape[1:3])
    values = images.astype(jnp.float32)
    # At lower precision pixels would be rounded to 8 bits of mantissa.
    precision = jax.lax.Precision.HIGHEST
    values = jnp.einsum("ph,nhwc->npwc", rows, values, precision=precision)
    values = jnp.einsum("qw,npwc->npqc", columns, values, precision=precision)
    return jnp.broadcast_to(values, (*values.shape[:3], 3))


def resize_tf1(images: UInt8[Array | np.ndarray, "N H W C"]) -> Float[Array, "N 299 299 3"]:
    """Resizes as TensorFlow 1 did inside the graph of 2015 (FID of TTUR, original Inception Score): to (x - 128) / 128.

    `ResizeBilinear` with align_corners=False and without half-pixel centres: source = destination * size / 299. It
    shifts an enlarged image by up to half a pixel of its own and repeats the last row and column.
    """
    return (_resize(images, half_pixel_centres=False) - 128.0) / 128.0


def resize_pytorch_fid(images: UInt8[Array | np.ndarray, "N H W C"]) -> Float[Array, "N 299 299 3"]:
    """Resizes as pytorch-fid does: bilinear with half-pixel centres and no antialiasing, to 2 x / 255 - 1."""
    return _resize(images, half_pixel_centres=True) * (2.0 / 255.0) - 1.0


RESIZES = {"tf1": jax.jit(resize_tf1), "pytorch_fid": jax.jit(resize_pytorch_fid)}
