"""Inception-v3 of 2015 as FID uses it: a description of its layers, the shapes of its weights, and a pure function.

It is torchvision's `inception_v3` without auxiliary logits but for four things: average pools leave the padding out of
the mean, the last block pools by the maximum, there are 1008 classes, and images are scaled as TensorFlow did.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

IMAGE_SIZE = 299
NUM_FEATURES = 2048
NUM_CLASSES = 1008
EPSILON = 1e-3  # of batch norm

_NORM = ("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")


class Conv(NamedTuple):
    """Convolution, batch norm and ReLU."""

    name: str  # of the layer inside its block, as published
    features: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: str = "SAME"


class Pool(NamedTuple):
    """Pooling over 3x3 pixels, by "max" or "average"."""

    kind: str
    stride: int = 1
    padding: str = "SAME"


class Branches(NamedTuple):
    """Sequences of layers on the same input; their outputs are concatenated along the channels."""

    prefix: str  # of the layers' names
    sequences: tuple[tuple, ...]


_REDUCING = ((3, 3), 2, "VALID")
_REDUCING_POOL = Pool("max", 2, "VALID")


def _chain(name: str, *settings: tuple) -> tuple[Conv, ...]:
    """Convolutions one after the other, numbered from 1."""
    return tuple(Conv(f"{name}_{number}", *fields) for number, fields in enumerate(settings, 1))


def _block_a(prefix: str, pool_features: int) -> Branches:
    wide = _chain("branch5x5", (48,), (64, (5, 5)))
    double = _chain("branch3x3dbl", (64,), (96, (3, 3)), (96, (3, 3)))
    pooled = (Pool("average"), Conv("branch_pool", pool_features))
    return Branches(prefix, ((Conv("branch1x1", 64),), wide, double, pooled))


def _block_b(prefix: str) -> Branches:
    double = _chain("branch3x3dbl", (64,), (96, (3, 3)), (96, *_REDUCING))
    return Branches(prefix, ((Conv("branch3x3", 384, *_REDUCING),), double, (_REDUCING_POOL,)))


def _block_c(prefix: str, narrow: int) -> Branches:
    single = _chain("branch7x7", (narrow,), (narrow, (1, 7)), (192, (7, 1)))
    double = _chain("branch7x7dbl", (narrow,), (narrow, (7, 1)), (narrow, (1, 7)), (narrow, (7, 1)), (192, (1, 7)))
    pooled = (Pool("average"), Conv("branch_pool", 192))
    return Branches(prefix, ((Conv("branch1x1", 192),), single, double, pooled))


def _block_d(prefix: str) -> Branches:
    square = _chain("branch3x3", (192,), (320, *_REDUCING))
    long = _chain("branch7x7x3", (192,), (192, (1, 7)), (192, (7, 1)), (192, *_REDUCING))
    return Branches(prefix, (square, long, (_REDUCING_POOL,)))


def _block_e(prefix: str, pooling: str) -> Branches:
    def split(name):
        return Branches(name, ((Conv("a", 384, (1, 3)),), (Conv("b", 384, (3, 1)),)))

    single = (Conv("branch3x3_1", 384), split("branch3x3_2"))
    double = (*_chain("branch3x3dbl", (448,), (384, (3, 3))), split("branch3x3dbl_3"))
    pooled = (Pool(pooling), Conv("branch_pool", 192))
    return Branches(prefix, ((Conv("branch1x1", 320),), single, double, pooled))


ARCHITECTURE = (
    Conv("Conv2d_1a_3x3", 32, (3, 3), 2, "VALID"),
    Conv("Conv2d_2a_3x3", 32, (3, 3), 1, "VALID"),
    Conv("Conv2d_2b_3x3", 64, (3, 3)),
    _REDUCING_POOL,
    Conv("Conv2d_3b_1x1", 80),
    Conv("Conv2d_4a_3x3", 192, (3, 3), 1, "VALID"),
    _REDUCING_POOL,
    _block_a("Mixed_5b.", 32),
    _block_a("Mixed_5c.", 64),
    _block_a("Mixed_5d.", 64),
    _block_b("Mixed_6a."),
    _block_c("Mixed_6b.", 128),
    _block_c("Mixed_6c.", 160),
    _block_c("Mixed_6d.", 160),
    _block_c("Mixed_6e.", 192),
    _block_d("Mixed_7a."),
    _block_e("Mixed_7b.", "average"),
    _block_e("Mixed_7c.", "max"),
)


def _kernel_shapes(layers: tuple, prefix: str, channels: int) -> tuple[dict, int]:
    """OIHW shapes of the convolutions by full name, and the channels that come out."""
    shapes = {}
    for layer in layers:
        if isinstance(layer, Conv):
            shapes[prefix + layer.name] = (layer.features, channels, *layer.size)
            channels = layer.features
        elif isinstance(layer, Branches):
            parts = [_kernel_shapes(sequence, prefix + layer.prefix, channels) for sequence in layer.sequences]
            for part, _ in parts:
                shapes |= part
            channels = sum(width for _, width in parts)
    return shapes, channels


_KERNELS, _ = _kernel_shapes(ARCHITECTURE, "", 3)

# Shape of every tensor of the published state dict, in PyTorch's layout, by name (num_batches_tracked left out).
SHAPES = {
    **{f"{name}.conv.weight": shape for name, shape in _KERNELS.items()},
    **{f"{name}.{part}": shape[:1] for name, shape in _KERNELS.items() for part in _NORM},
    "fc.weight": (NUM_CLASSES, NUM_FEATURES),
    "fc.bias": (NUM_CLASSES,),
}


def prepare(params: dict[str, np.ndarray]) -> dict:
    """Brings published weights (names and shapes of `SHAPES`) into the form that `inception_v3` computes with.

    Batch norm becomes part of the convolution before it: its scale is multiplied into the kernel, in float64. The bias
    of the classes has no part in any score.
    """
    prepared = {}
    for name in _KERNELS:
        weight, bias, mean, variance = (np.asarray(params[f"{name}.{part}"], np.float64) for part in _NORM)
        scale = weight / np.sqrt(variance + EPSILON)
        kernel = np.asarray(params[f"{name}.conv.weight"]).transpose(2, 3, 1, 0) * scale
        shift = (bias - mean * scale)[None, None, None]
        prepared[name] = {"kernel": kernel.astype(np.float32), "shift": shift.astype(np.float32)}
    prepared["classifier"] = np.ascontiguousarray(np.asarray(params["fc.weight"], np.float32).T)
    return prepared


def _apply(layers: tuple, prefix: str, prepared: dict, x: Array, precision: jax.lax.Precision) -> Array:
    for layer in layers:
        if isinstance(layer, Conv):
            weights = prepared[prefix + layer.name]
            strides, numbers = (layer.stride, layer.stride), ("NHWC", "HWIO", "NHWC")
            x = jax.lax.conv_general_dilated(
                x, weights["kernel"], strides, layer.padding, dimension_numbers=numbers, precision=precision
            )
            x = jax.nn.relu(x + weights["shift"])
        elif isinstance(layer, Pool) and layer.kind == "max":
            x = nn.max_pool(x, (3, 3), (layer.stride, layer.stride), layer.padding)
        elif isinstance(layer, Pool):
            x = nn.avg_pool(x, (3, 3), (layer.stride, layer.stride), layer.padding, count_include_pad=False)
        else:
            parts = [_apply(sequence, prefix + layer.prefix, prepared, x, precision) for sequence in layer.sequences]
            x = jnp.concatenate(parts, axis=-1)
    return x


def inception_v3(
    prepared: dict, images: Float[Array, "N 299 299 3"], precision: jax.lax.Precision = jax.lax.Precision.HIGHEST
) -> tuple[Float[Array, "N 2048"], Float[Array, "N 1008"]]:
    """Computes features after the last average pool, and logits without bias, as the Inception Score uses them.

    Images are scaled by one of `features.RESIZES`, weights `prepared`. A precision below HIGHEST, which is float32 on
    every device, uses bfloat16 or TF32 on TPUs and GPUs and gives other figures.
    """
    features = _apply(ARCHITECTURE, "", prepared, images, precision).mean(axis=(1, 2))
    return features, jnp.matmul(features, prepared["classifier"], precision=precision)
