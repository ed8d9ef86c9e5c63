"""Convolution, NHWC by HWIO, with a kernel gradient that is fast on every platform.

XLA's CPU backend runs a forward convolution well everywhere, but the gradient of its kernel, inside a loop, about 100
times slower than a matmul (48 channels, 32x32, batch 50, 2 cores: 5.2 s against 0.055 s). So on CPU the kernel's
gradient is a few matmuls, and the input's gradient is a forward convolution; on GPU and TPU both are what XLA makes of
them.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]  # zeros (before, after) each spatial axis

# With fewer channels than this on one side, all shifts are written on that side, where they are small, on CPU.
THIN = 8


def convolve(
    x: Float[Array, "B H W C"], kernel: Float[Array, "h w C F"], padding: Padding, stride: int = 1
) -> Float[Array, "B H_out W_out F"]:
    """Cross-correlates with the gradients that XLA derives."""
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def gradients_of(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Array], tuple[Array, Array]]:
    """Makes the function of (x, kernel, cotangent) that XLA derives for the two gradients."""
    return lambda x, kernel, cotangent: jax.vjp(function, x, kernel)[1](cotangent)


@functools.cache
def separable_convolve(padding: Padding, stride: int = 1) -> Callable[[Array, Array], Array]:
    """Makes a `convolve` that `vmap` over images makes one batch, and over kernels too one convolution each on CPU.

    Elsewhere they become one grouped convolution. On CPU that made three digits runs at once cost 5.2 times one; one
    convolution after the other, 2.9 times. The function has no gradients of its own.
    """
    plain = functools.partial(convolve, padding=padding, stride=stride)
    separable = jax.custom_batching.custom_vmap(plain)

    def one_by_one(x, kernels):
        return jnp.stack([separable(*pair) for pair in zip(x, kernels, strict=True)])

    @separable.def_vmap
    def rule(size, batched, x, kernel):
        if list(batched) == [True, False]:
            outputs = separable(x.reshape(-1, *x.shape[2:]), kernel)
            return outputs.reshape(*x.shape[:2], *outputs.shape[1:]), True
        x, kernel = (
            array if is_batched else jnp.broadcast_to(array[None], (size, *array.shape))
            for array, is_batched in zip((x, kernel), batched, strict=True)
        )
        return lax.platform_dependent(x, kernel, cpu=one_by_one, default=jax.vmap(plain)), True

    return separable


def shift(x: Array, rows: int, columns: int, height: int, width: int) -> Array:
    """Cuts out of x [B, H, W, C] what lies from (rows, columns) on, as [B, height, width, C]; else zeros."""
    config = [(0, 0, 0), (-rows, height - x.shape[1] + rows, 0), (-columns, width - x.shape[2] + columns, 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def contract(a: Array, b: Array) -> Array:
    """Sums products over all axes but the last: [..., C] and [..., F] to [C, F]."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def _pad(x: Array, padding: Padding) -> Array:
    """Puts zeros around the last two axes, or cuts them where padding is below 0."""
    return lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0)] * (x.ndim - 2) + [(*pads, 0) for pads in padding])


def _patches(x: Float[Array, "B H W C"], taps: tuple[int, int], padding: Padding) -> Float[Array, "T*C P"]:
    """Shifted copies below each other, a row for each tap and channel, a column for each image and position."""
    x = _pad(x.transpose(3, 0, 1, 2), padding)
    height, width = (length - size + 1 for length, size in zip(x.shape[2:], taps, strict=True))
    copies = [x[:, :, i : i + height, j : j + width] for i in range(taps[0]) for j in range(taps[1])]
    return jnp.stack(copies).reshape(taps[0] * taps[1] * len(x), -1)


def kernel_gradient(
    x: Float[Array, "B H W C"],
    kernel_shape: tuple[int, int, int, int],
    padding: Padding,
    cotangent: Float[Array, "B H_out W_out F"],
) -> Float[Array, "h w C F"]:
    """Computes the gradient of a stride-1 convolution in its kernel by matmuls, for XLA's CPU backend.

    dK[i, j] is the sum over images and positions of x shifted by (i, j) times the cotangent. Shifting is cheap on that
    backend; writing shifted copies side by side costs ten times as much, so as few as possible are written.
    """
    height, width, channels, features = kernel_shape
    (top, _), (left, _) = padding
    out_width = cotangent.shape[2]
    if channels < THIN:
        patches = _patches(x, (height, width), padding)
        return (patches @ cotangent.reshape(-1, features)).reshape(kernel_shape)
    if features < THIN:
        patches = _patches(cotangent, (height, width), _transposed(padding, kernel_shape))
        mirrored = (patches @ x.reshape(-1, channels)).reshape(height, width, features, channels)
        return mirrored[::-1, ::-1].swapaxes(2, 3)
    rows = [shift(cotangent, top - i, 0, x.shape[1], out_width) for i in range(height)]
    rows = jnp.concatenate(rows, axis=-1)
    products = [contract(shift(x, 0, j - left, x.shape[1], out_width), rows) for j in range(width)]
    return jnp.stack(products).reshape(width, channels, height, features).transpose(2, 0, 1, 3)


def _transposed(padding: Padding, kernel_shape: tuple[int, ...]) -> Padding:
    """The padding of the convolution that is the gradient in the input."""
    return tuple((size - 1 - low, size - 1 - high) for (low, high), size in zip(padding, kernel_shape[:2], strict=True))


def _convolve_on_cpu(x: Array, kernel: Array, padding: Padding) -> Array:
    """With few channels on one side as a matmul and shifts of that side."""
    height, width, channels, features = kernel.shape
    batch, *size = x.shape[:3]
    size = [length + sum(pads) - taps + 1 for length, pads, taps in zip(size, padding, kernel.shape, strict=False)]
    if channels < THIN:
        patches = _patches(x, (height, width), padding)
        return (patches.T @ kernel.reshape(-1, features)).reshape(batch, *size, features)
    if features < THIN:
        kernel = kernel.swapaxes(2, 3).reshape(-1, channels)
        products = (kernel @ x.reshape(-1, channels).T).reshape(height, width, features, *x.shape[:3])
        products = _pad(products, padding)
        taps = [(i, j) for i in range(height) for j in range(width)]
        shifted = sum(products[i, j, :, :, i : i + size[0], j : j + size[1]] for i, j in taps)
        return shifted.transpose(1, 2, 3, 0)
    return separable_convolve(padding)(x, kernel)


def _gradients_on_cpu(x: Array, kernel: Array, cotangent: Array, *, padding: Padding) -> tuple[Array, Array]:
    flipped = kernel[::-1, ::-1].swapaxes(2, 3)
    input_gradient = _convolve_on_cpu(cotangent, flipped, _transposed(padding, kernel.shape))
    return input_gradient, kernel_gradient(x, kernel.shape, padding, cotangent)


def _primal(x: Array, kernel: Array, padding: Padding) -> Array:
    if min(kernel.shape[2:]) >= THIN:
        return separable_convolve(padding)(x, kernel)
    on_cpu = functools.partial(_convolve_on_cpu, padding=padding)
    return lax.platform_dependent(x, kernel, cpu=on_cpu, default=separable_convolve(padding))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _differentiable_convolve(x: Array, kernel: Array, padding: Padding) -> Array:
    return _primal(x, kernel, padding)


def _forward(x: Array, kernel: Array, padding: Padding) -> tuple[Array, tuple[Array, Array]]:
    return _primal(x, kernel, padding), (x, kernel)


def _backward(padding: Padding, residuals: tuple[Array, Array], cotangent: Array) -> tuple[Array, Array]:
    return lax.platform_dependent(
        *residuals,
        cotangent,
        cpu=functools.partial(_gradients_on_cpu, padding=padding),
        default=gradients_of(functools.partial(convolve, padding=padding)),
    )


_differentiable_convolve.defvjp(_forward, _backward)


def conv2d(
    x: Float[Array, "B H W C"], kernel: Float[Array, "h w C F"], padding: Padding | None = None
) -> Float[Array, "B H_out W_out F"]:
    """Cross-correlates images with stride 1; without `padding` height and width stay (odd h and w)."""
    if kernel.shape[:2] == (1, 1):
        return x @ kernel[0, 0]
    if padding is None:
        padding = tuple((size // 2, size // 2) for size in kernel.shape[:2])
    return _differentiable_convolve(x, kernel, padding)
