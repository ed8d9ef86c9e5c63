"""The generator, table 5 and figure 5 (a): a latent and its component to an image."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp

from mpcc_jax.networks.architecture import ARCHITECTURES, BOTTOM_SIZE
from mpcc_jax.networks.blocks import GeneratorBlock
from mpcc_jax.networks.normalization import BatchNorm, ConditionalBatchNorm, LabelEmbed, Standardize
from mpcc_jax.networks.precision import at_least_float32
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense


class Generator(nn.Module):
    """x = G(z, y), tanh output in [-1, 1].

    Attributes:
      resolution: height and width of the images.
      image_channels: 1 or 3.
      channels: the multiplier C.
      num_components: K.
      conditioning: how z and y reach the blocks (appendix C). "split": z in equal chunks, one to the first linear
        layer and one to each block, there beside Embed(y) (CIFAR). "shared": all of z everywhere (FMNIST).
        "conditional": all of z to the first layer, y by conditional batch normalisation (MNIST, Omniglot).
      upsampling: "bilinear" or "nearest".
      conv, dense: make the spectrally normalised layers.
      standardize: makes the normalising part of the batch normalisation.
      rewrites: the exact rewrites to use.
    """

    resolution: int
    image_channels: int
    channels: int
    num_components: int
    conditioning: str
    upsampling: str = "bilinear"
    conv: Callable[..., nn.Module] = SpectralConv
    dense: Callable[..., nn.Module] = SpectralDense
    standardize: Callable[..., nn.Module] = Standardize
    rewrites: Rewrites = Rewrites()

    def _deliver(self, z, y, num_blocks, train):
        """The input of the first layer, and one condition per block."""
        if self.conditioning == "conditional":
            return z, [y] * num_blocks
        embedded = LabelEmbed(self.num_components, z.shape[-1], name="shared_embed")(y, train)
        chunks = jnp.split(z, num_blocks + 1, -1) if self.conditioning == "split" else [z] * (num_blocks + 1)
        return chunks[0], [jnp.concatenate([embedded, chunk], axis=-1) for chunk in chunks[1:]]

    @nn.compact
    def __call__(self, z, y, train):
        """Args: z latents [B, J]; y components, integers [B]; train. Returns images [B, H, W, image_channels]."""
        plan = ARCHITECTURES[self.resolution]
        first, conditions = self._deliver(z, y, len(plan.generator), train)
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
            block = GeneratorBlock(
                stage.width * self.channels,
                stage.resample,
                self.upsampling,
                norm,
                self.conv,
                self.rewrites,
                name=f"block{i}",
            )
            x = block(x, condition, train)
        x = nn.relu(BatchNorm(self.standardize, name="output_norm")(x, train))
        return jnp.tanh(at_least_float32(self.conv(self.image_channels, name="output_conv")(x, train)))
