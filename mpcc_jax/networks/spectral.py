"""Spectral normalisation (Miyato et al., 2018) and the linen layers that use it.

Layers store the raw kernel in "params" and the running left singular vector `u` in a collection of their own,
"spectral", beside the last estimate `sigma`. flax.linen.SpectralNorm overwrites the stored kernel at init with the
normalised one, which changes its scale and so what Adam does later; here the optimiser sees the raw kernel.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mpcc_jax.networks.convolution import conv2d

KERNEL_INIT = nn.initializers.normal(0.02)


def _normalise(vector: Array, epsilon: float) -> Array:
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)


def spectral_norm(
    matrix: Float[Array, "M F"], u: Float[Array, " F"], num_iterations: int = 1, epsilon: float = 1e-8
) -> tuple[Float[Array, ""], Float[Array, " F"]]:
    """Estimates a matrix's largest singular value by power iteration; also returns the new u.

    The singular vectors are constants for the gradient; sigma = v K u is differentiated in K.

    Args:
      u: estimate of the singular vector on the output side.
      epsilon: lower bound of the norms that vectors are divided by.

    References:
      Miyato et al. Spectral Normalization for Generative Adversarial Networks. ICLR 2018.
    """
    constant = jax.lax.stop_gradient(matrix)
    for _ in range(num_iterations):
        # Sums, not dots: on CPU they keep the released trajectory 20 times closer in float32, and compile faster.
        v = _normalise(jnp.sum(constant * u[None, :], axis=1), epsilon)
        product = jnp.sum(matrix * v[:, None], axis=0)
        u = _normalise(jax.lax.stop_gradient(product), epsilon)
    sigma = jnp.sum(product * u)
    return sigma, u


def spectral_normalise(
    kernel: Float[Array, "*M F"], u: Float[Array, " F"], num_iterations: int = 1, epsilon: float = 1e-8
) -> tuple[Float[Array, "*M F"], Float[Array, " F"], Float[Array, ""]]:
    """Divides a kernel, flattened but for its last axis, by its `spectral_norm`; also returns the new u and sigma."""
    sigma, u = spectral_norm(kernel.reshape(-1, kernel.shape[-1]), u, num_iterations, epsilon)
    return kernel / sigma, u, sigma


def fan_in_uniform(fan_in: int) -> Callable[..., Array]:
    """Makes an initialiser, uniform in +-1/sqrt(fan_in): PyTorch's for biases, which the released code keeps."""
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class SpectralLayer(nn.Module):
    """What the spectrally normalised layers share: u, sigma and the bias."""

    features: int
    use_bias: bool = True
    bias_init: str = "zeros"  # (paper) or "uniform" (PyTorch's default, released code)
    num_iterations: int = 1  # power iterations per call
    epsilon: float = 1e-8  # lower bound of the norms in the power iteration
    dtype: str | None = None  # of inputs, normalised kernel and outputs after the bias; None promotes

    def normalised(self, kernel: Float[Array, "*M F"], train: bool) -> Float[Array, "*M F"]:
        """Divides the kernel by sigma; stores u and sigma when training."""
        u = self.variable("spectral", "u", lambda: jax.random.normal(self.make_rng("params"), kernel.shape[-1:]))
        stored_sigma = self.variable("spectral", "sigma", lambda: jnp.ones(()))
        kernel, new_u, sigma = spectral_normalise(kernel, u.value, self.num_iterations, self.epsilon)
        if train and not self.is_initializing():
            u.value, stored_sigma.value = new_u, jax.lax.stop_gradient(sigma)
        return self.rounded(kernel)

    def rounded(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Casts to `dtype`."""
        return x if self.dtype is None else x.astype(self.dtype)

    def biased(self, outputs: Float[Array, "*B F"], fan_in: int) -> Float[Array, "*B F"]:
        """Adds the bias if there is one, and rounds."""
        if self.use_bias:
            init = nn.initializers.zeros if self.bias_init == "zeros" else fan_in_uniform(fan_in)
            bias = self.param("bias", init, (self.features,))
            outputs = outputs + bias.reshape((1,) * (outputs.ndim - 1) + (-1,))
        return self.rounded(outputs)


class SpectralConv(SpectralLayer):
    """Convolution of stride 1 that keeps height and width, its kernel [h, w, C, F] spectrally normalised."""

    kernel_size: tuple[int, int] = (3, 3)
    convolve: Callable[[Array, Array], Array] = conv2d  # or that and the resampling around it in one

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H_out W_out F"]:
        """Convolves images."""
        kernel = self.param("kernel", KERNEL_INIT, (*self.kernel_size, x.shape[-1], self.features))
        return self.biased(self.convolve(self.rounded(x), self.normalised(kernel, train)), kernel[..., 0].size)


class SpectralDense(SpectralLayer):
    """Linear layer, its kernel [D, F] spectrally normalised."""

    @nn.compact
    def __call__(self, x: Float[Array, "B D"], train: bool) -> Float[Array, "B F"]:
        """Multiplies vectors."""
        kernel = self.param("kernel", KERNEL_INIT, (x.shape[-1], self.features))
        return self.biased(self.rounded(x) @ self.normalised(kernel, train), x.shape[-1])


class SpectralEmbed(SpectralLayer):
    """Table [K, F] of one row per class, spectrally normalised; u lives on the side of the classes, [K]."""

    use_bias: bool = False
    num_embeddings: int = 1

    @nn.compact
    def __call__(self, y: Int[Array, " B"], train: bool) -> Float[Array, "B F"]:
        """Looks up rows."""
        table = self.param("embedding", KERNEL_INIT, (self.num_embeddings, self.features))
        return self.biased(self.normalised(table.T, train).T[y], self.num_embeddings)
