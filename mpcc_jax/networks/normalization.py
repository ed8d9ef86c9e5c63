"""Batch normalisation, plain and conditional.

flax.linen.BatchNorm stores the biased variance; the released code, PyTorch, stores the unbiased one. Under `jit` the
statistics are those of the whole batch however it is sharded; under `pmap` they are averaged over `axis_name`.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from mpcc_jax.networks.precision import at_least_float32


def _spread(per_channel: Array) -> Array:
    return per_channel[None, None, None]


class Standardize(nn.Module):
    """Subtracts the mean and divides by the standard deviation of every channel, keeping running statistics."""

    momentum: float = 0.1  # weight of the newest batch in the running statistics; 1.0 keeps the last batch's
    epsilon: float = 1e-5  # added to the variance
    axis_name: str | None = None  # the pmap axis over which a batch is split, if any

    def _across_devices(self, value: Array) -> Array:
        return value if self.axis_name is None else lax.pmean(value, self.axis_name)

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H W C"]:
        """Standardizes features, in float32 or more."""
        x, channels = at_least_float32(x), x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(channels))
        running_var = self.variable("batch_stats", "var", lambda: jnp.ones(channels))
        if not train:
            return (x - _spread(running_mean.value)) * _spread(lax.rsqrt(running_var.value + self.epsilon))
        mean = self._across_devices(jnp.mean(x, axis=(0, 1, 2)))
        centred = x - _spread(mean)
        var = self._across_devices(jnp.mean(centred**2, axis=(0, 1, 2)))
        if not self.is_initializing():
            count = x[..., 0].size * (1 if self.axis_name is None else lax.psum(1, self.axis_name))
            unbiased = var * (count / (count - 1))
            for running, batch in ((running_mean, mean), (running_var, unbiased)):
                running.value = (1.0 - self.momentum) * running.value + self.momentum * lax.stop_gradient(batch)
        return centred * _spread(lax.rsqrt(var + self.epsilon))


class BatchNorm(nn.Module):
    """Batch normalisation with a learnable gain and bias per channel."""

    standardize: Callable[..., nn.Module] = Standardize

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H W C"]:
        """Normalises features."""
        gain = self.param("gain", nn.initializers.ones, x.shape[-1:])
        bias = self.param("bias", nn.initializers.zeros, x.shape[-1:])
        return (self.standardize(name="standardize")(x, train) * _spread(gain) + _spread(bias)).astype(x.dtype)


class ConditionalBatchNorm(nn.Module):
    """Batch normalisation whose gain (1 + gain) and bias are functions of a condition, per example and channel."""

    project: Callable[..., nn.Module]  # makes the two modules that map the condition to [B, C], gain and bias
    standardize: Callable[..., nn.Module] = Standardize

    @nn.compact
    def __call__(
        self, x: Float[Array, "B H W C"], condition: Num[Array, "B ..."], train: bool
    ) -> Float[Array, "B H W C"]:
        """Normalises features."""
        gain = 1.0 + self.project(features=x.shape[-1], name="gain")(condition, train)
        bias = self.project(features=x.shape[-1], name="bias")(condition, train)
        outputs = self.standardize(name="standardize")(x, train) * gain[:, None, None] + bias[:, None, None]
        return outputs.astype(x.dtype)


class LabelEmbed(nn.Module):
    """Row of a table per class, not spectrally normalised: the condition of the third generator is the class itself."""

    num_embeddings: int
    features: int

    @nn.compact
    def __call__(self, y: Int[Array, " B"], train: bool) -> Float[Array, "B F"]:
        """Looks up rows; `train` makes no difference."""
        del train
        table = self.param("embedding", nn.initializers.normal(0.02), (self.num_embeddings, self.features))
        return jnp.take(table, y, axis=0)
