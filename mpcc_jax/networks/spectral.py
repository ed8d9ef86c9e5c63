"""Spectral normalisation (Miyato et al., 2018) and the linen layers that use it.

Layers store the raw kernel in "params" and the running left singular vector `u` in a collection of their own,
"spectral", beside the last estimate `sigma`. flax.linen.SpectralNorm overwrites the stored kernel at init with the
normalised one, which changes its scale and so what Adam does later; here the optimiser sees the raw kernel.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpcc_jax.networks.convolution import conv2d, conv2d_average_pool

KERNEL_INIT = nn.initializers.normal(0.02)


def _normalise(vector, epsilon):
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)


def spectral_normalise(kernel, u, num_iterations=1, epsilon=1e-8):
    """Divides a kernel by an estimate of its largest singular value, by power iteration.

    The singular vectors are constants for the gradient; sigma = v K u is differentiated in K.

    Args:
      kernel: [..., F]; all axes but the last are flattened.
      u: estimate of the singular vector on the output side, [F].
      num_iterations: power iterations, at least 1.
      epsilon: lower bound of the norms that vectors are divided by.

    Returns:
      The kernel over sigma, [..., F]; the new u, [F]; sigma, scalar.

    References:
      Miyato et al. Spectral Normalization for Generative Adversarial Networks. ICLR 2018.
    """
    matrix = kernel.reshape(-1, kernel.shape[-1])
    constant = jax.lax.stop_gradient(matrix)
    for _ in range(num_iterations):
        # Sums, not dots: on CPU they keep the released trajectory 20 times closer in float32.
        v = _normalise(jnp.sum(constant * u[None, :], axis=1), epsilon)
        u = _normalise(jnp.sum(constant * v[:, None], axis=0), epsilon)
    sigma = (v @ matrix) @ u
    return kernel / sigma, u, sigma


def fan_in_uniform(fan_in):
    """Uniform in +-1/sqrt(fan_in): PyTorch's default for biases, which the released code keeps.

    Args:
      fan_in: inputs of one output.

    Returns:
      An initialiser.
    """
    bound = fan_in**-0.5
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(key, shape, dtype, -bound, bound)


class SpectralLayer(nn.Module):
    """What the spectrally normalised layers share: u, sigma and the bias.

    Attributes:
      features: outputs.
      use_bias: whether to add a bias.
      bias_init: "zeros" (paper) or "uniform" (PyTorch's default, released code).
      num_iterations: power iterations per call.
      epsilon: lower bound of the norms in the power iteration.
    """

    features: int
    use_bias: bool = True
    bias_init: str = "zeros"
    num_iterations: int = 1
    epsilon: float = 1e-8

    def normalised(self, kernel, train):
        """The kernel over sigma; stores u and sigma when training.

        Args:
          kernel: [..., F].
          train: whether this is a training pass.

        Returns:
          [..., F].
        """
        u = self.variable("spectral", "u", lambda: jax.random.normal(self.make_rng("params"), kernel.shape[-1:]))
        stored_sigma = self.variable("spectral", "sigma", lambda: jnp.ones(()))
        kernel, new_u, sigma = spectral_normalise(kernel, u.value, self.num_iterations, self.epsilon)
        if train and not self.is_initializing():
            u.value, stored_sigma.value = new_u, jax.lax.stop_gradient(sigma)
        return kernel

    def biased(self, outputs, fan_in):
        """Adds the bias, if there is one.

        Args:
          outputs: [..., F].
          fan_in: inputs of one output.

        Returns:
          [..., F].
        """
        if not self.use_bias:
            return outputs
        init: Callable = nn.initializers.zeros if self.bias_init == "zeros" else fan_in_uniform(fan_in)
        bias = self.param("bias", init, (self.features,))
        return outputs + bias.reshape((1,) * (outputs.ndim - 1) + (-1,))


class SpectralConv(SpectralLayer):
    """Convolution of stride 1 that keeps height and width, its kernel [h, w, C, F] spectrally normalised.

    Attributes:
      kernel_size: (h, w).
      pool: whether 2x2 average pooling follows (a 3x3 kernel only).
    """

    kernel_size: tuple[int, int] = (3, 3)
    pool: bool = False

    @nn.compact
    def __call__(self, x, train):
        """Args: x [B, H, W, C]; train. Returns [B, H, W, F], half of H and W with pooling."""
        kernel = self.param("kernel", KERNEL_INIT, (*self.kernel_size, x.shape[-1], self.features))
        convolve = conv2d_average_pool if self.pool else conv2d
        return self.biased(convolve(x, self.normalised(kernel, train)), kernel[..., 0].size)


class SpectralDense(SpectralLayer):
    """Linear layer, its kernel [D, F] spectrally normalised."""

    @nn.compact
    def __call__(self, x, train):
        """Args: x [B, D]; train. Returns [B, F]."""
        kernel = self.param("kernel", KERNEL_INIT, (x.shape[-1], self.features))
        return self.biased(x @ self.normalised(kernel, train), x.shape[-1])


class SpectralEmbed(SpectralLayer):
    """Table [K, F] of one row per class, spectrally normalised; u lives on the side of the classes, [K]."""

    num_embeddings: int = 1

    @nn.compact
    def __call__(self, y, train):
        """Args: y integers [B]; train. Returns [B, F]."""
        table = self.param("embedding", KERNEL_INIT, (self.num_embeddings, self.features))
        return self.normalised(table.T, train).T[y]
