"""Spectral normalisation (Miyato et al., 2018) and the linen layers that use it.

Layers store the raw kernel in "params" and the running left singular vector `u` in a collection of their own,
"spectral", beside the last estimate `sigma`. flax.linen.SpectralNorm overwrites the stored kernel at init with the
normalised one, which changes its scale and so what Adam does later; here the optimiser sees the raw kernel.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpcc_jax.networks.convolution import conv2d

KERNEL_INIT = nn.initializers.normal(0.02)


def _normalise(vector, epsilon):
    return vector / jnp.maximum(jnp.linalg.norm(vector), epsilon)


def spectral_norm(matrix, u, num_iterations=1, epsilon=1e-8):
    """An estimate of a matrix's largest singular value, by power iteration.

    The singular vectors are constants for the gradient; sigma = v K u is differentiated in K.

    Args:
      matrix: K, [M, F].
      u: estimate of the singular vector on the output side, [F].
      num_iterations: power iterations, at least 1.
      epsilon: lower bound of the norms that vectors are divided by.

    Returns:
      sigma, scalar; the new u, [F].

    References:
      Miyato et al. Spectral Normalization for Generative Adversarial Networks. ICLR 2018.
    """
    constant = jax.lax.stop_gradient(matrix)
    for _ in range(num_iterations):
        # Sums, not dots: on CPU they keep the released trajectory 20 times closer in float32.
        v = _normalise(jnp.sum(constant * u[None, :], axis=1), epsilon)
        u = _normalise(jnp.sum(constant * v[:, None], axis=0), epsilon)
    sigma = jnp.matmul(jnp.matmul(v, matrix, precision="highest"), u, precision="highest")
    return sigma, u


def spectral_normalise(kernel, u, num_iterations=1, epsilon=1e-8):
    """Divides a kernel by its `spectral_norm`.

    Args:
      kernel: [..., F]; all axes but the last are flattened.
      u, num_iterations, epsilon: as there.

    Returns:
      The kernel over sigma, [..., F]; the new u, [F]; sigma, scalar.
    """
    sigma, u = spectral_norm(kernel.reshape(-1, kernel.shape[-1]), u, num_iterations, epsilon)
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
      dtype: what inputs and the normalised kernel are rounded to, and the outputs after the bias; None promotes.
    """

    features: int
    use_bias: bool = True
    bias_init: str = "zeros"
    num_iterations: int = 1
    epsilon: float = 1e-8
    dtype: str | None = None

    def normalised(self, kernel, train):
        """The kernel over sigma; stores u and sigma when training.

        With a collection "sigmas" (from `group_spectral_norms`) sigma is read there, and nothing is stored. With
        "pass_sigmas" the kernel stays as it is, and `divided` is what divides.

        Args:
          kernel: [..., F].
          train: whether this is a training pass.

        Returns:
          [..., F].
        """
        if self.has_variable("pass_sigmas", "sigma"):
            return self.rounded(kernel)
        if self.has_variable("sigmas", "sigma"):
            return self.rounded(kernel / self.get_variable("sigmas", "sigma"))
        u = self.variable("spectral", "u", lambda: jax.random.normal(self.make_rng("params"), kernel.shape[-1:]))
        stored_sigma = self.variable("spectral", "sigma", lambda: jnp.ones(()))
        kernel, new_u, sigma = spectral_normalise(kernel, u.value, self.num_iterations, self.epsilon)
        if train and not self.is_initializing():
            u.value, stored_sigma.value = new_u, jax.lax.stop_gradient(sigma)
        return self.rounded(kernel)

    def rounded(self, x):
        """Args: x. Returns it as `dtype`."""
        return x if self.dtype is None else x.astype(self.dtype)

    def divided(self, outputs):
        """Args: outputs of the layer, linear in its kernel. Returns them over sigma, if the kernel was not divided."""
        if self.has_variable("pass_sigmas", "sigma"):
            return outputs / self.get_variable("pass_sigmas", "sigma")
        return outputs

    def biased(self, outputs, fan_in):
        """Adds the bias, if there is one, to the `divided` outputs.

        Args:
          outputs: [..., F].
          fan_in: inputs of one output.

        Returns:
          [..., F].
        """
        outputs = self.divided(outputs)
        if not self.use_bias:
            return self.rounded(outputs)
        init: Callable = nn.initializers.zeros if self.bias_init == "zeros" else fan_in_uniform(fan_in)
        bias = self.param("bias", init, (self.features,))
        return self.rounded(outputs + bias.reshape((1,) * (outputs.ndim - 1) + (-1,)))


class SpectralConv(SpectralLayer):
    """Convolution of stride 1 that keeps height and width, its kernel [h, w, C, F] spectrally normalised.

    Attributes:
      kernel_size: (h, w).
      convolve: what is done with the images and the kernel: `conv2d`, or that and the resampling around it in one.
    """

    kernel_size: tuple[int, int] = (3, 3)
    convolve: Callable = conv2d

    @nn.compact
    def __call__(self, x, train):
        """Args: x [B, H, W, C]; train. Returns [B, H', W', F]."""
        kernel = self.param("kernel", KERNEL_INIT, (*self.kernel_size, x.shape[-1], self.features))
        return self.biased(self.convolve(self.rounded(x), self.normalised(kernel, train)), kernel[..., 0].size)


class SpectralDense(SpectralLayer):
    """Linear layer, its kernel [D, F] spectrally normalised."""

    @nn.compact
    def __call__(self, x, train):
        """Args: x [B, D]; train. Returns [B, F]."""
        kernel = self.param("kernel", KERNEL_INIT, (x.shape[-1], self.features))
        return self.biased(self.rounded(x) @ self.normalised(kernel, train), x.shape[-1])


class SpectralEmbed(SpectralLayer):
    """Table [K, F] of one row per class, spectrally normalised; u lives on the side of the classes, [K]."""

    num_embeddings: int = 1

    @nn.compact
    def __call__(self, y, train):
        """Args: y integers [B]; train. Returns [B, F]."""
        table = self.param("embedding", KERNEL_INIT, (self.num_embeddings, self.features))
        return self.rounded(self.divided(self.normalised(table.T, train).T[y]))
