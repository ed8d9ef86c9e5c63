"""Pooling and upsampling, and a 3x3 convolution before or after them with 4 or 2.25 times fewer multiplications.

Pooling and bilinear upsampling average neighbours. That is a convolution with one kernel for all channels, which
commutes with every other convolution, so the averages are taken where fewer pixels are left to be multiplied.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from mpcc_jax.networks.convolution import contract, conv2d, convolve, gradients_of, separable_convolve

# From this size of x on `upsample_conv2d` saves time with bilinear upsampling; below, its borders cost more.
SMALLEST_BILINEAR = 8
# Up to this many pixels one matrix upsamples both axes on TPU: it costs a third of two, but grows with their square.
LARGEST_MATRIX = 32 * 32

_NO_PADDING = ((0, 0), (0, 0))


def _block_means(x: Array) -> Array:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def average_pool(x: Float[Array, "B H W C"]) -> Float[Array, "B H//2 W//2 C"]:
    """Averages every 2x2 block."""
    window = functools.partial(nn.avg_pool, window_shape=(2, 2), strides=(2, 2))
    return lax.platform_dependent(x, tpu=window, default=_block_means)


def _window_means(x: Array, more: int = 1) -> Array:
    """Means of all 2x2 windows, zeros around the image counted: [B, H, W, C] to [B, H + more, W + more, C].

    Sums of shifts of one padded array: XLA computes them again for every use, which is cheap, and the array once.
    """
    padded = jnp.pad(x, ((0, 0), (1, more), (1, more), (0, 0)))
    height, width = padded.shape[1] - 1, padded.shape[2] - 1
    return 0.25 * sum(padded[:, i : i + height, j : j + width] for i in range(2) for j in range(2))


def _kernel_window_means(kernel: Float[Array, "3 3 C F"]) -> Float[Array, "4 4 C F"]:
    return _window_means(kernel.transpose(2, 0, 1, 3)).transpose(1, 2, 0, 3)


def _even_window_means(x: Array) -> Array:
    """With a row and a column of zeros more, which no stride of 2 reaches: the kernel's gradient takes pairs."""
    return _window_means(x, more=2)


def _strided(x: Array, kernel: Array) -> Array:
    return convolve(_even_window_means(x), kernel, _NO_PADDING, stride=2)


def _wide_strided(x: Array, kernel: Array) -> Array:
    """The same as a convolution of stride 2 with the kernel's window means, 4x4: no pass over all pixels before it."""
    return convolve(x, _kernel_window_means(kernel), ((1, 1), (1, 1)), stride=2)


def _pooled_kernel(x: Array, kernel: Array) -> Array:
    """The same as `_wide_strided`, made of convolutions of stride 1.

    Of its rows the even ones meet the even rows of x and the odd ones the odd: two convolutions on neighbouring columns
    moved into the channels, which is how the columns lie in memory.
    """
    batch, height, width, channels = x.shape
    kernel = _kernel_window_means(kernel).reshape(2, 2, 2, 2 * channels, -1)
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    x = x.reshape(batch, height // 2 + 1, 2, width // 2 + 1, 2 * channels)
    return sum(conv2d(x[:, :, row], kernel[:, row], _NO_PADDING) for row in range(2))


def _strided_of_means(x: Array, kernel: Array) -> Array:
    return separable_convolve(_NO_PADDING, stride=2)(_even_window_means(x), kernel)


@jax.custom_vjp
def conv2d_average_pool(x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 C F"]) -> Float[Array, "B H//2 W//2 F"]:
    """Computes `average_pool(conv2d(x, kernel))` with 4 times fewer multiplications (on TPU 2.25 times).

    It is every second pixel of the convolution of the means of all 2x2 windows: a convolution of stride 2. XLA's CPU
    backend has no fast gradients of strides, so on CPU the image's is that of a form without (2.25 times fewer), and
    the kernel's is made of matmuls. On TPU the pass that makes the means costs more than it saves.
    """
    return lax.platform_dependent(x, kernel, tpu=_wide_strided, default=_strided_of_means)


def _strided_kernel_gradient(means: Array, cotangent: Array) -> Array:
    """The gradient of a 3x3 convolution of stride 2 by matmuls: pairs of neighbouring columns lie in the channels."""
    (batch, height, width, features), channels = cotangent.shape, means.shape[-1]
    pairs = means.reshape(batch, height + 1, 2, width + 1, 2 * channels)
    gradients = []
    for rows in (pairs[:, :-1, 0], pairs[:, :-1, 1], pairs[:, 1:, 0]):
        both, third = contract(rows[:, :, :-1], cotangent), contract(rows[:, :, 1:, :channels], cotangent)
        gradients.append(jnp.concatenate([both, third]).reshape(3, channels, features))
    return jnp.stack(gradients)


def _pool_gradients_on_cpu(x: Array, kernel: Array, cotangent: Array) -> tuple[Array, Array]:
    (input_gradient,) = jax.vjp(lambda x: _pooled_kernel(x, kernel), x)[1](cotangent)
    return input_gradient, _strided_kernel_gradient(_even_window_means(x), cotangent)


def _pool_forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return conv2d_average_pool(x, kernel), (x, kernel)


def _pool_backward(residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    on_gpu, on_tpu = gradients_of(_strided), gradients_of(_wide_strided)
    return lax.platform_dependent(*residuals, cotangent, cpu=_pool_gradients_on_cpu, tpu=on_tpu, default=on_gpu)


conv2d_average_pool.defvjp(_pool_forward, _pool_backward)


def _slice(x: Array, start: int, size: int, axis: int) -> Array:
    return lax.slice_in_dim(x, start, start + size, axis=axis)


def _pad_with_edges(x: Array, axis: int) -> Array:
    return jnp.concatenate([_slice(x, 0, 1, axis), x, _slice(x, x.shape[axis] - 1, 1, axis)], axis=axis)


def _upsample_axis_bilinear(x: Array, axis: int) -> Array:
    """Doubles one axis: every new pixel is 3/4 of the near old one and 1/4 of the far one (half-pixel centres).

    That is each old pixel twice, blurred by (1, 2, 1) / 4: shifts alone, which are cheap on every platform.
    """
    twice = jnp.repeat(_pad_with_edges(x, axis), 2, axis)
    before, here, after = (_slice(twice, 1 + i, 2 * x.shape[axis], axis) for i in range(3))
    return 0.5 * here + 0.25 * (before + after)


def _upsample_bilinear(x: Array) -> Array:
    return _upsample_axis_bilinear(_upsample_axis_bilinear(x, 1), 2)


def _upsample_nearest(x: Array) -> Array:
    return jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)


def _upsample_by_matmul(x: Array, method: str) -> Array:
    """By products with constant matrices, for TPUs: shifting and interleaving pixels costs them more."""
    batch, height, width, channels = x.shape

    def along_axis(size):
        copies = np.repeat(np.eye(size), 2, axis=1)
        padded = np.pad(copies, ((0, 0), (1, 1)), mode="edge")
        return copies if method == "nearest" else 0.5 * copies + 0.25 * (padded[:, :-2] + padded[:, 2:])

    rows, columns = along_axis(height), along_axis(width)
    if height * width > LARGEST_MATRIX:
        return jnp.einsum("hi,wj,bhwc->bijc", jnp.asarray(rows, x.dtype), jnp.asarray(columns, x.dtype), x)
    matrix = jnp.asarray(np.kron(rows, columns), x.dtype)
    new = jnp.einsum("po,bpc->boc", matrix, x.reshape(batch, height * width, channels))
    return new.reshape(batch, 2 * height, 2 * width, channels)


def upsample(x: Float[Array, "B H W C"], method: str) -> Float[Array, "B 2*H 2*W C"]:
    """Doubles height and width; "bilinear" (paper; half-pixel centres, borders repeated) or "nearest" (released)."""
    by_shifts = _upsample_bilinear if method == "bilinear" else _upsample_nearest
    return lax.platform_dependent(x, tpu=functools.partial(_upsample_by_matmul, method=method), default=by_shifts)


def _fold(kernel: Array, axis: int) -> tuple[Array, Array]:
    """Kernels of 2 taps for the first and the second copy of an old pixel, from one of 3 taps over the copies."""
    first, middle, last = (_slice(kernel, i, 1, axis) for i in range(3))
    return jnp.concatenate([first, middle + last], axis), jnp.concatenate([first + middle, last], axis)


def _interleave(first: Array, second: Array, axis: int) -> Array:
    """Two arrays as the even and the odd entries of one axis."""
    shape = (*first.shape[:axis], 2 * first.shape[axis], *first.shape[axis + 1 :])
    return jnp.stack([first, second], axis=axis + 1).reshape(shape)


def _blur_copies(first: Array, second: Array, axis: int) -> tuple[Array, Array]:
    """Copies blurred by (1, 2, 1) / 4: n of each, from n + 1 first and n + 1 second ones (of the old pixel before)."""
    size = first.shape[axis] - 1
    (first_here, first_after), (second_before, second_here) = (
        (_slice(copies, 0, size, axis), _slice(copies, 1, size, axis)) for copies in (first, second)
    )
    return (
        0.5 * first_here + 0.25 * (second_before + second_here),
        0.5 * second_here + 0.25 * (first_here + first_after),
    )


def _convolve_outside(x: Array, kernel: Array) -> list[tuple[tuple[int, ...], Array]]:
    """What a convolution of repeated borders takes from outside the image, where the true one sees zeros.

    Pairs of a position and what to subtract there: the first and the last row, the first and the last column.
    """
    height, width = x.shape[1:3]
    strips = []
    for row, position, taps in ((0, 0, kernel[:1]), (height - 1, 2 * height - 1, kernel[2:])):
        outside = _upsample_axis_bilinear(_slice(x, row, 1, 1), 2)
        strips.append(((0, position, 0, 0), conv2d(outside, taps, ((0, 0), (1, 1)))))
    for column, position, taps in ((0, 0, kernel[:, :1]), (width - 1, 2 * width - 1, kernel[:, 2:])):
        outside = _pad_with_edges(_upsample_axis_bilinear(_slice(x, column, 1, 2), 1), 1)
        strips.append(((0, 0, position, 0), conv2d(outside, taps, _NO_PADDING)))
    return strips


def _nearest_upsample_conv2d(x: Array, kernel: Array) -> Array:
    kernels = [_fold(rows, 1) for rows in _fold(kernel, 0)]
    rows = []
    for row, (left, right) in enumerate(kernels):
        pair = (conv2d(x, part, ((1 - row, row), (1 - column, column))) for column, part in enumerate((left, right)))
        rows.append(_interleave(*pair, axis=2))
    return _interleave(*rows, axis=1)


def _bilinear_upsample_conv2d(x: Array, kernel: Array) -> Array:
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    kernels = [part for rows in _fold(kernel, 0) for part in _fold(rows, 1)]
    quarters = jnp.split(conv2d(padded, jnp.concatenate(kernels, axis=-1), _NO_PADDING), 4, axis=-1)
    lefts, rights = (_blur_copies(*quarters[column::2], axis=1) for column in range(2))
    rows = [_interleave(*_blur_copies(*pair, axis=2), axis=2) for pair in zip(lefts, rights, strict=True)]
    new = _interleave(*rows, axis=1)
    for start, strip in _convolve_outside(x, kernel):
        border = lax.dynamic_slice(new, start, strip.shape)
        new = lax.dynamic_update_slice(new, border - strip, start)
    return new


def upsample_conv2d(
    x: Float[Array, "B H W C"], kernel: Float[Array, "3 3 C F"], method: str
) -> Float[Array, "B 2*H 2*W F"]:
    """Computes `conv2d(upsample(x, method), kernel)` with about 2.25 times fewer multiplications.

    Of three rows under the kernel two are copies of one old row, so each of the four copies of an old pixel is a 2x2
    convolution of old ones. Bilinear upsampling blurs the copies, which can wait until after the convolution, except at
    the borders: there the blur repeats pixels and the convolution sees zeros.
    """
    subpixel = _bilinear_upsample_conv2d if method == "bilinear" else _nearest_upsample_conv2d
    return lax.platform_dependent(
        x, kernel, tpu=lambda x, kernel: conv2d(upsample(x, method), kernel), default=subpixel
    )
