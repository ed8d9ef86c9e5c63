"""Batch normalisation, plain and conditional.

flax.linen.BatchNorm stores the biased variance; the released code, PyTorch, stores the unbiased one. Under `jit` the
statistics are those of the whole batch however it is sharded; under `pmap` they are averaged over `axis_name`.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Num

from mpcc_jax.networks.precision import at_least_float32


def _spread(per_channel: Array) -> Array:
    return per_channel[None, None, None]


def _mean(x: Float[Array, "B H W C"], axis_name: str | None) -> Float[Array, " C"]:
    mean = jnp.mean(x, axis=(0, 1, 2))
    return mean if axis_name is None else lax.pmean(mean, axis_name)


def _in_two_passes(x: Array, origin: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    mean = _mean(x, axis_name)
    centred = x - _spread(mean)
    return centred, mean, _mean(centred**2, axis_name)


def _in_one_pass(x: Array, origin: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    moved = x - _spread(origin)
    mean, square = _mean(moved, axis_name), _mean(moved**2, axis_name)
    return moved - _spread(mean), origin + mean, square - mean**2


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _center(x: Array, origin: Array, axis_name: str | None) -> tuple[Array, Array, Array]:
    """Returns x less its mean, the mean and the biased variance, by channel, of features that were rounded to 16 bits.

    On TPU both are taken in the pass that made x: the variance is E (x - o)^2 - (E x - o)^2, with the running mean as
    the origin o, so that no digits are lost once it has settled.
    """
    one, two = (functools.partial(center, axis_name=axis_name) for center in (_in_one_pass, _in_two_passes))
    return lax.platform_dependent(x, origin, tpu=one, default=two)


def _center_forward(x: Array, origin: Array, axis_name: str | None) -> tuple[tuple, tuple]:
    return _center(x, origin, axis_name), (x, origin)


def _center_backward(axis_name: str | None, residuals: tuple, cotangents: tuple) -> tuple[Array, Array]:
    def gradient_of(center):
        def gradient(x, origin, cotangents):
            return jax.vjp(lambda x: center(x, origin, axis_name), x)[1](cotangents)[0]

        return gradient

    one, two = gradient_of(_in_one_pass), gradient_of(_in_two_passes)
    gradient = lax.platform_dependent(*residuals, cotangents, tpu=one, default=two)
    return gradient, jnp.zeros_like(residuals[1])


_center.defvjp(_center_forward, _center_backward)


class Standardize(nn.Module):
    """Subtracts the mean and divides by the standard deviation of every channel, keeping running statistics."""

    momentum: float = 0.1  # weight of the newest batch in the running statistics; 1.0 keeps the last batch's
    epsilon: float = 1e-5  # added to the variance
    axis_name: str | None = None  # the pmap axis over which a batch is split, if any

    @nn.compact
    def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B H W C"]:
        """Standardizes features, in float32 or more."""
        center = _center if x.dtype.itemsize < 4 else _in_two_passes
        x, channels = at_least_float32(x), x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", lambda: jnp.zeros(channels))
        running_var = self.variable("batch_stats", "var", lambda: jnp.ones(channels))
        if not train:
            return (x - _spread(running_mean.value)) * _spread(lax.rsqrt(running_var.value + self.epsilon))
        centred, mean, var = center(x, running_mean.value, self.axis_name)
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
