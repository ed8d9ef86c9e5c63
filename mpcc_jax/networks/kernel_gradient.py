"""The gradient of a convolution's kernel as matmuls, for XLA's CPU backend.

There the gradient that XLA derives takes up to 100 times as long as a matmul of the same work, and inside a loop more.
dK[i, j] is the sum over images and positions of x shifted by (i, j) times the cotangent. Shifting is cheap on that
backend; writing shifted copies side by side costs ten times as much, so as few as possible are written.
"""

import jax.numpy as jnp
from jax import lax

# With fewer channels than this on one side all shifts are written on that side: they are small there. Measured with 1
# and 3 channels (3 against 40 ms and 17 against 55 ms of 100 images of 32x32) and with 48 and more.
THIN = 8


def _shift(x, rows, columns, height, width):
    """Of x [B, H, W, C] what lies from (rows, columns) on, as [B, height, width, C]; else zeros."""
    config = [(0, 0, 0), (-rows, height - x.shape[1] + rows, 0), (-columns, width - x.shape[2] + columns, 0), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _contract(a, b):
    """Sum over all axes but the last: [..., C] and [..., F] to [C, F]."""
    return a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])


def kernel_gradient(x, kernel_shape, padding, cotangent):
    """Gradient of a stride-1 convolution in its kernel.

    Args:
      x: the convolution's input, [B, H, W, C].
      kernel_shape: (h, w, C, F).
      padding: of the convolution, ((top, bottom), (left, right)).
      cotangent: of its output, [B, H', W', F].

    Returns:
      [h, w, C, F].
    """
    height, width, channels, features = kernel_shape
    (top, _), (left, _) = padding
    out_height, out_width = cotangent.shape[1:3]
    taps = [(i, j) for i in range(height) for j in range(width)]
    if channels < THIN:
        patches = [_shift(x, i - top, j - left, out_height, out_width) for i, j in taps]
        return _contract(jnp.concatenate(patches, axis=-1), cotangent).reshape(kernel_shape)
    if features < THIN:
        patches = [_shift(cotangent, top - i, left - j, x.shape[1], x.shape[2]) for i, j in taps]
        return _contract(jnp.concatenate(patches, axis=-1), x).reshape(height, width, features, channels).swapaxes(2, 3)
    rows = [_shift(cotangent, top - i, 0, x.shape[1], out_width) for i in range(height)]
    rows = jnp.concatenate(rows, axis=-1)
    products = [_contract(_shift(x, 0, j - left, x.shape[1], out_width), rows) for j in range(width)]
    return jnp.stack(products).reshape(width, channels, height, features).transpose(2, 0, 1, 3)
