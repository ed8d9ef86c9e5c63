"""A 3x3 convolution with half the multiplications, for CPUs: Winograd's F(4, 3) along the columns of an image.

Four rows of the result come of six rows of the image. Six sums of those, each convolved along its row with a sum of the
kernel's three rows, hold them all: 6 products for 4 results in place of 12. Along both axes it would be a quarter of
the multiplications, and so many more sums, which are bound by memory, that nothing would be gained.

References:
  Lavin and Gray. Fast Algorithms for Convolutional Neural Networks. CVPR 2016.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mpcc_jax.networks.convolution import contract, conv2d, gradients_of, separable_convolve, shift

# Of six rows of the image, of three of the kernel, and of the six products, sums by row of these matrices.
IMAGE = np.array(
    [
        *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
        *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
    ]
)
KERNEL = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
RESULT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])

# Channels times rows from which on it is used: below, less is saved than compiling takes longer.
SMALLEST = 512

_ROW_PADDING = ((0, 0), (1, 1))


def _sum(coefficients: Sequence[float], parts: Sequence[Array]) -> Array:
    """Sums parts times coefficients, those of 0 left out."""
    terms = [part * float(factor) for factor, part in zip(coefficients, parts, strict=True) if factor]
    return sum(terms[1:], start=terms[0])


def _cut(x: Float[Array, "B H W C"]) -> list[Float[Array, "B H//4 W C"]]:
    """Row r of every window of six, which overlap by two; zeros above and below the image."""
    batch, height, width, channels = x.shape
    windows = jnp.pad(x, ((0, 0), (1, 3), (0, 0), (0, 0))).reshape(batch, height // 4 + 1, 4, width, channels)
    return [windows[:, :-1, row] for row in range(4)] + [windows[:, 1:, row] for row in range(2)]


def _convolve_rows(planes: list[Array], kernel: Float[Array, "3 3 C F"]) -> list[Array]:
    convolve = separable_convolve(_ROW_PADDING)
    return [convolve(plane, _sum(row, kernel)[None]) for row, plane in zip(KERNEL, planes, strict=True)]


def _forward(x: Array, kernel: Array) -> Array:
    rows = _cut(x)
    products = _convolve_rows([_sum(row, rows) for row in IMAGE], kernel)
    joined = jnp.stack([_sum(row, products) for row in RESULT], axis=2)
    return joined.reshape(*x.shape[:3], -1)


def _gradients(x: Array, kernel: Array, cotangent: Array) -> tuple[Array, Array]:
    """The transposes of the three sums, and between them convolutions along rows and their kernels' gradients."""
    batch, height, width, _ = x.shape
    rows = cotangent.reshape(batch, height // 4, 4, width, -1)
    cotangents = [_sum(column, [rows[:, :, row] for row in range(4)]) for column in RESULT.T]
    # Mirrored along the rows alone: its three rows belong to the sums, which stay in their order.
    products = _convolve_rows(cotangents, kernel[:, ::-1].swapaxes(2, 3))
    first, second = ([_sum(column, products) for column in part.T] for part in (IMAGE[:, :4], IMAGE[:, 4:]))
    first, second = jnp.stack(first, axis=2), jnp.stack(second, axis=2)
    first = jnp.pad(first, ((0, 0), (0, 1), (0, 0), (0, 0), (0, 0)))
    second = jnp.pad(second, ((0, 0), (1, 0), (0, 2), (0, 0), (0, 0)))
    input_gradient = (first + second).reshape(batch, height + 4, width, -1)[:, 1 : height + 1]
    rows = _cut(x)
    planes = [
        jnp.stack([contract(shift(plane, 0, column - 1, height // 4, width), part) for column in range(3)])
        for plane, part in zip([_sum(row, rows) for row in IMAGE], cotangents, strict=True)
    ]
    return input_gradient, jnp.stack([_sum(column, planes) for column in KERNEL.T])


@jax.custom_vjp
def winograd_conv2d(x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 C F"]) -> Float[Array, "B H W F"]:
    """Computes `conv2d(x, kernel)`, on CPU with half the multiplications, forward and in both gradients."""
    return _primal(x, kernel)


def _primal(x: Array, kernel: Array) -> Array:
    return lax.platform_dependent(x, kernel, cpu=_forward, default=conv2d)


def _backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    return lax.platform_dependent(*residuals, cotangent, cpu=_gradients, default=gradients_of(conv2d))


winograd_conv2d.defvjp(lambda x, kernel: (_primal(x, kernel), (x, kernel)), _backward)


def fast_conv2d(x: Float[Array, "B H W C"], kernel: Float[Array, "h w C F"]) -> Float[Array, "B H W F"]:
    """Computes `conv2d(x, kernel)`, by Winograd's form where that is faster."""
    height = x.shape[1]
    large = height % 4 == 0 and height * min(kernel.shape[2:]) >= SMALLEST
    exact = x.dtype in (jnp.float32, jnp.float64)  # sums of rows in bfloat16 would round once more
    return (winograd_conv2d if kernel.shape[:2] == (3, 3) and large and exact else conv2d)(x, kernel)
