"""The discriminator, table 6: a trunk that the encoder may share, and a head."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.networks.blocks import DiscriminatorBlock
from mpcc_jax.networks.precision import at_least_float32
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense, SpectralEmbed


class Trunk(nn.Module):
    """The first three residual blocks, of the discriminator or of an encoder that does not share them.

    Attributes:
      resolution: height and width of the images.
      channels: the multiplier C.
      conv: makes a convolution.
      rewrites: the exact rewrites to use.
    """

    resolution: int
    channels: int
    conv: Callable[..., nn.Module] = SpectralConv
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(self, x, train):
        """Args: x images [B, H, W, C]; train. Returns features [B, h, w, F]."""
        for i, stage in enumerate(ARCHITECTURES[self.resolution].trunk):
            block = DiscriminatorBlock(
                stage.width * self.channels, stage.resample, i > 0, self.conv, self.rewrites, name=f"block{i}"
            )
            x = block(x, train)
        return x


class DiscriminatorHead(nn.Module):
    """Remaining blocks, ReLU, global sum pooling, linear; with a projection on y when conditional.

    Attributes:
      resolution: height and width of the images.
      channels: the multiplier C.
      num_components: K, rows of the projection.
      projection: whether to add Embed(y) . h (Miyato and Koyama, 2018).
      conv, dense, embed: make the spectrally normalised layers.
      rewrites: the exact rewrites to use.
    """

    resolution: int
    channels: int
    num_components: int
    projection: bool = False
    conv: Callable[..., nn.Module] = SpectralConv
    dense: Callable[..., nn.Module] = SpectralDense
    embed: Callable[..., nn.Module] = SpectralEmbed
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(self, x, y, train):
        """Args: x trunk features [B, h, w, F]; y integers [B], read by the projection only; train. Returns [B]."""
        for i, stage in enumerate(ARCHITECTURES[self.resolution].discriminator):
            block = DiscriminatorBlock(
                stage.width * self.channels, stage.resample, True, self.conv, self.rewrites, name=f"block{i}"
            )
            x = block(x, train)
        h = jnp.sum(at_least_float32(nn.relu(x)), axis=(1, 2))
        logits = self.dense(1, dtype=None, name="linear")(h, train)[:, 0]
        if self.projection:
            embedded = self.embed(
                h.shape[-1], use_bias=False, dtype=None, num_embeddings=self.num_components, name="embed"
            )
            logits = logits + jnp.sum(embedded(y, train) * h, axis=-1)
        return logits
