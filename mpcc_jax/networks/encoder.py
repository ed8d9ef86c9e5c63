"""The encoder's own part, table 7; its first three blocks are a `Trunk`."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.networks.blocks import apply_discriminator_blocks
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense


class EncoderHead(nn.Module):
    """Remaining blocks, flatten, and two linear layers each for the mean and the log variance of q(z | x)."""

    resolution: int
    channels: int  # the multiplier C
    latent_dim: int
    conv: Callable[..., nn.Module] = SpectralConv
    dense: Callable[..., nn.Module] = SpectralDense
    rewrites: Rewrites = Rewrites()

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> tuple[Float[Array, "B J"], Float[Array, "B J"]]:
        """Computes the mean and the log variance from features."""
        x = apply_discriminator_blocks(self, ARCHITECTURES[self.resolution].encoder, x, train)
        # The released weights order these inputs by channel first.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        mean = nn.relu(self.dense(x.shape[-1] // 2, name="mean1")(x, train))
        log_var = nn.relu(self.dense(x.shape[-1] // 2, name="log_var1")(x, train))
        return (
            self.dense(self.latent_dim, dtype=None, name="mean2")(mean, train),
            self.dense(self.latent_dim, dtype=None, name="log_var2")(log_var, train),
        )
