"""The residual blocks of figure 4.

A 1x1 convolution commutes with upsampling and with average pooling, so the shortcut runs it at the lower resolution:
the published order (in the generator after the upsampling, in the discriminator before the pooling except in its first
block) computes the same function with four times the work.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Num

from mpcc_jax.networks.architecture import Stage
from mpcc_jax.networks.resampling import SMALLEST_BILINEAR, average_pool, conv2d_average_pool, upsample, upsample_conv2d
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv


class GeneratorBlock(nn.Module):
    """Figure 4 (a): norm, ReLU, up, 3x3, norm, ReLU, 3x3, plus the upsampled input through a 1x1."""

    features: int  # output feature maps
    resample: bool  # whether to double the resolution
    upsampling: str  # "bilinear" or "nearest"
    norm: Callable[..., nn.Module]
    conv: Callable[..., nn.Module] = SpectralConv
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], condition: Num[Array, "B ..."], train: bool
    ) -> Float[Array, "B H_out W_out F"]:
        """Computes features; `condition` is the input of `norm`."""

        def up(x):
            return upsample(x, self.upsampling) if self.resample else x

        shortcut = x if self.rewrites.shortcut_first else up(x)
        if self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(self.features, kernel_size=(1, 1), name="conv_shortcut")(shortcut, train)
        shortcut = up(shortcut) if self.rewrites.shortcut_first else shortcut
        x = jax.nn.relu(self.norm(name="norm1")(x, condition, train))
        worthwhile = self.upsampling == "nearest" or x.shape[1] >= SMALLEST_BILINEAR
        if self.resample and self.rewrites.subpixel and worthwhile:
            convolve = functools.partial(upsample_conv2d, method=self.upsampling)
            x = self.conv(self.features, convolve=convolve, name="conv1")(x, train)
        else:
            x = self.conv(self.features, convolve=self.rewrites.conv2d, name="conv1")(up(x), train)
        x = jax.nn.relu(self.norm(name="norm2")(x, condition, train))
        return self.conv(self.features, convolve=self.rewrites.conv2d, name="conv2")(x, train) + shortcut


class DiscriminatorBlock(nn.Module):
    """Figure 4 (b): ReLU, 3x3, ReLU, 3x3, pool, plus the pooled input through a 1x1."""

    features: int  # output feature maps
    resample: bool  # whether to halve the resolution
    preactivation: bool = True  # False for the first block, which sees the image
    conv: Callable[..., nn.Module] = SpectralConv
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H_out W_out F"]:
        """Computes features."""

        def pool(x):
            return average_pool(x) if self.resample else x

        shortcut = pool(x) if self.rewrites.shortcut_first else x
        if self.resample or x.shape[-1] != self.features:
            shortcut = self.conv(self.features, kernel_size=(1, 1), name="conv_shortcut")(shortcut, train)
        shortcut = shortcut if self.rewrites.shortcut_first else pool(shortcut)
        x = jax.nn.relu(x) if self.preactivation else x
        x = jax.nn.relu(self.conv(self.features, convolve=self.rewrites.conv2d, name="conv1")(x, train))
        if self.resample and self.rewrites.pool_first:
            return self.conv(self.features, convolve=conv2d_average_pool, name="conv2")(x, train) + shortcut
        return pool(self.conv(self.features, convolve=self.rewrites.conv2d, name="conv2")(x, train)) + shortcut


def apply_discriminator_blocks(
    network: nn.Module, stages: tuple[Stage, ...], x: Float[Array, "B H W C"], train: bool, sees_image: bool = False
) -> Float[Array, "B H_out W_out F"]:
    """Computes features by the blocks of a trunk or head; its `channels`, `conv` and `rewrites` are used."""
    for i, stage in enumerate(stages):
        preactivation = not (sees_image and i == 0)
        width = stage.width * network.channels
        block = DiscriminatorBlock(
            width, stage.resample, preactivation, network.conv, network.rewrites, name=f"block{i}"
        )
        x = block(x, train)
    return x
