"""The generator, table 5 and figure 5 (a): a latent and its component to an image."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from mpcc_jax.networks.architecture import ARCHITECTURES, BOTTOM_SIZE
from mpcc_jax.networks.blocks import GeneratorBlock
from mpcc_jax.networks.normalization import BatchNorm, ConditionalBatchNorm, LabelEmbed, Standardize
from mpcc_jax.networks.precision import at_least_float32
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense


class Generator(nn.Module):
    """x = G(z, y), tanh output in [-1, 1].

    Attributes:
      conditioning: how z and y reach the blocks (appendix C). "split": z in chunks, one to the first linear layer and
        one to each block, there beside Embed(y) (CIFAR). "shared": all of z everywhere (FMNIST). "conditional": all of
        z to the first layer, y by conditional batch normalisation (MNIST, Omniglot).
    """

    resolution: int
    image_channels: int
    channels: int  # the multiplier C
    num_components: int
    conditioning: str
    upsampling: str = "bilinear"  # or "nearest"
    conv: Callable[..., nn.Module] = SpectralConv
    dense: Callable[..., nn.Module] = SpectralDense
    standardize: Callable[..., nn.Module] = Standardize
    rewrites: Rewrites = Rewrites()

    def _split_inputs(self, z: Array, y: Array, num_blocks: int, train: bool) -> tuple[Array, list[Array]]:
        """The input of the first layer, and one condition per block."""
        if self.conditioning == "conditional":
            return z, [y] * num_blocks
        embedded = LabelEmbed(self.num_components, z.shape[-1], name="shared_embed")(y, train)
        chunks = [z] * (num_blocks + 1)
        if self.conditioning == "split":
            chunks = jnp.array_split(z, num_blocks + 1, axis=-1)  # unequal ones if J is not a multiple of their number
        return chunks[0], [jnp.concatenate([embedded, chunk], axis=-1) for chunk in chunks[1:]]

    @nn.compact
    def __call__(self, z: Float[Array, "B J"], y: Int[Array, " B"], train: bool) -> Float[Array, "B H W C"]:
        """Decodes latents."""
        plan = ARCHITECTURES[self.resolution]
        first, conditions = self._split_inputs(z, y, len(plan.generator), train)
        if self.conditioning == "conditional":
            project = functools.partial(LabelEmbed, num_embeddings=self.num_components)
        else:
            project = functools.partial(self.dense, use_bias=False, dtype=None)
        norm = functools.partial(ConditionalBatchNorm, project=project, standardize=self.standardize)

        width = plan.input_width * self.channels
        x = self.dense(width * BOTTOM_SIZE**2, name="linear")(first, train)
        # The released weights order these units by channel first.
        x = x.reshape(-1, width, BOTTOM_SIZE, BOTTOM_SIZE).transpose(0, 2, 3, 1)
        for i, (stage, condition) in enumerate(zip(plan.generator, conditions, strict=True)):
            width = stage.width * self.channels
            block = GeneratorBlock(
                width, stage.resample, self.upsampling, norm, self.conv, self.rewrites, name=f"block{i}"
            )
            x = block(x, condition, train)
        x = nn.relu(BatchNorm(self.standardize, name="output_norm")(x, train))
        return jnp.tanh(at_least_float32(self.conv(self.image_channels, name="output_conv")(x, train)))
