"""The residual blocks of figure 4.

A 1x1 convolution commutes with upsampling and with average pooling, so the shortcut always runs it at the lower
resolution: the published order (in the generator after the upsampling, in the discriminator before the pooling except
in its first block) computes the same function with four times the work.
"""

from collections.abc import Callable

import flax.linen as nn
import jax

from mpcc_jax.networks.convolution import average_pool, upsample
from mpcc_jax.networks.spectral import SpectralConv


class GeneratorBlock(nn.Module):
    """Figure 4 (a): norm, ReLU, up, 3x3, norm, ReLU, 3x3, plus the upsampled input through a 1x1.

    Attributes:
      features: output feature maps.
      resample: whether to double the resolution.
      upsampling: "bilinear" or "nearest".
      norm: makes the conditional normalisation.
      conv: makes a convolution.
    """

    features: int
    resample: bool
    upsampling: str
    norm: Callable[..., nn.Module]
    conv: Callable[..., nn.Module] = SpectralConv

    @nn.compact
    def __call__(self, x, condition, train):
        """Args: x [B, H, W, C]; condition of the norms; train. Returns [B, H', W', F]."""
        shortcut = x
        if self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(self.features, kernel_size=(1, 1), name="conv_shortcut")(shortcut, train)
        x = jax.nn.relu(self.norm(name="norm1")(x, condition, train))
        if self.resample:
            x, shortcut = upsample(x, self.upsampling), upsample(shortcut, self.upsampling)
        x = self.conv(self.features, name="conv1")(x, train)
        x = jax.nn.relu(self.norm(name="norm2")(x, condition, train))
        return self.conv(self.features, name="conv2")(x, train) + shortcut


class DiscriminatorBlock(nn.Module):
    """Figure 4 (b): ReLU, 3x3, ReLU, 3x3, pool, plus the pooled input through a 1x1.

    Attributes:
      features: output feature maps.
      resample: whether to halve the resolution.
      preactivation: False for the first block, which sees the image.
      conv: makes a convolution.
    """

    features: int
    resample: bool
    preactivation: bool = True
    conv: Callable[..., nn.Module] = SpectralConv

    @nn.compact
    def __call__(self, x, train):
        """Args: x [B, H, W, C]; train. Returns [B, H', W', F]."""
        shortcut = average_pool(x) if self.resample else x
        if self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(self.features, kernel_size=(1, 1), name="conv_shortcut")(shortcut, train)
        x = jax.nn.relu(x) if self.preactivation else x
        x = jax.nn.relu(self.conv(self.features, name="conv1")(x, train))
        return self.conv(self.features, pool=self.resample, name="conv2")(x, train) + shortcut
