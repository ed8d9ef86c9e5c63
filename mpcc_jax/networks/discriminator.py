"""The discriminator, table 6: a trunk that the encoder may share, and a head."""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.networks.blocks import apply_discriminator_blocks
from mpcc_jax.networks.precision import at_least_float32
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense, SpectralEmbed


class Trunk(nn.Module):
    """The first three residual blocks, of the discriminator or of an encoder that does not share them."""

    resolution: int
    channels: int  # the multiplier C
    conv: Callable[..., nn.Module] = SpectralConv
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H_out W_out F"]:
        """Computes the features of images."""
        return apply_discriminator_blocks(self, ARCHITECTURES[self.resolution].trunk, x, train, sees_image=True)


class DiscriminatorHead(nn.Module):
    """Remaining blocks, ReLU, global sum pooling, linear; with a projection on y when conditional."""

    resolution: int
    channels: int  # the multiplier C
    num_components: int  # K, rows of the projection
    projection: bool = False  # whether to add Embed(y) . h (Miyato and Koyama, 2018)
    conv: Callable[..., nn.Module] = SpectralConv
    dense: Callable[..., nn.Module] = SpectralDense
    embed: Callable[..., nn.Module] = SpectralEmbed
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], y: Int[Array, " B"] | None, train: bool, weight: ArrayLike = 1.0
    ) -> Float[Array, " B"]:
        """Scores features; only the projection, times `weight`, reads y."""
        x = apply_discriminator_blocks(self, ARCHITECTURES[self.resolution].discriminator, x, train)
        h = jnp.sum(at_least_float32(nn.relu(x)), axis=(1, 2))
        logits = self.dense(1, dtype=None, name="linear")(h, train)[:, 0]
        if self.projection:
            embed = self.embed(h.shape[-1], dtype=None, num_embeddings=self.num_components, name="embed")
            logits = logits + weight * jnp.sum(embed(y, train) * h, axis=-1)
        return logits
