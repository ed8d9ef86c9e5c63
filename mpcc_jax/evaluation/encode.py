"""The trained networks as they are evaluated: encoder to clusters, EMA generator to images.

`weights` is anything with `params`, `buffers` and `ema`, as a `TrainState` has. The last batch is padded.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, UInt8

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.loader import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import Model, encode, generate
from mpcc_jax.prior import draw_latents


class Encoding(NamedTuple):
    """What the encoder infers from images."""

    mean: np.ndarray  # of q(z given x), [N, J]
    log_var: np.ndarray  # of q(z given x), [N, J]
    log_membership: np.ndarray  # log q(y given z) at the mean (Eq. 9), nats, [N, K]
    log_prob: np.ndarray  # log density of the mean under the prior, nats, [N]


def _in_batches(program: Callable, batch_size: int, *arrays: Array | np.ndarray) -> Iterator[np.ndarray]:
    """Runs a program on all rows; the last batch repeats rows, so that one program serves all."""
    outputs, arrays = [], [np.asarray(array) for array in arrays]
    for start in range(0, len(arrays[0]), batch_size):
        batch = [array[start : start + batch_size] for array in arrays]
        count = len(batch[0])
        full = [part[np.arange(batch_size) % count] for part in batch] if count < batch_size else batch
        outputs.append([np.asarray(result)[:count] for result in jax.tree.leaves(program(*full))])
    return (np.concatenate(parts) for parts in zip(*outputs, strict=True))


@functools.cache
def _compiled_encoder(model: Model) -> Callable:
    def encoder(params, buffers, images):
        images = to_float(images) if images.dtype == jnp.uint8 else images.astype(jnp.result_type(float))
        (mean, log_var), _ = encode(model, params, buffers, images, train=False)
        mixture = model.prior.membership_mixture(params["prior"])
        return mean, log_var, log_membership(mean, mixture), mixture.log_prob(mean)

    return jax.jit(encoder, compiler_options=compiler_options())


def encode_images(
    model: Model,
    weights: Any,
    images: UInt8[Array | np.ndarray, "N H W C"] | Float[Array | np.ndarray, "N H W C"],
    batch_size: int = 500,
) -> Encoding:
    """Encodes real images, uint8 or floats in [-1, 1], by the online encoder (no EMA, as released)."""
    program = functools.partial(_compiled_encoder(model), weights.params, weights.buffers)
    return Encoding(*_in_batches(program, batch_size, images))


@functools.cache
def _compiled_passes(model: Model) -> Callable:
    generator = model.generator.clone(standardize=functools.partial(model.generator.standardize, momentum=1.0))

    def statistics_of_passes(ema, theta, latents):
        mixture = model.prior.sampling_mixture(theta)
        variables = {"params": ema["params"], **ema["buffers"]}

        def run_pass(_, latents):
            y, z = mixture.draw(latents)
            with model.precision.scope():
                _, advanced = generator.apply(variables, z, y, True, mutable=["batch_stats", "spectral"])
            return None, advanced["batch_stats"]

        _, statistics = jax.lax.scan(run_pass, None, latents)
        return jax.tree.map(lambda x: x.mean(axis=0), statistics)

    return jax.jit(statistics_of_passes, compiler_options=compiler_options())


def standing_statistics(model: Model, weights: Any, key: Array, num_passes: int = 16, batch_size: int = 50) -> dict:
    """Averages the EMA generator's batch-norm statistics over several passes (appendix C); returns its buffers."""
    latents = draw_latents(key, (num_passes, batch_size), model.prior)
    statistics = _compiled_passes(model)(weights.ema, weights.params["prior"], latents)
    return {**weights.ema["buffers"], "batch_stats": statistics}


def generator_buffers(
    model: Model, weights: Any, statistics: str, key: Array, num_passes: int = 16, batch_size: int = 50
) -> dict:
    """Returns the EMA generator's buffers with one of `mpcc_jax.config.STATISTICS`.

    "standing" is the mean over several passes (appendix C; 16 in the paper), "running" the moving average from
    training; "batch" are those of each batch (the released code), so that the stored ones do not matter.
    """
    if statistics == "standing":
        return standing_statistics(model, weights, key, num_passes, batch_size)
    return weights.ema["buffers"]


@functools.cache
def _compiled_generator(model: Model, train: bool) -> Callable:
    def generator(params, buffers, z, y):
        return generate(model, {"generator": params}, {"generator": buffers}, z, y, train=train)[0]

    return jax.jit(generator, compiler_options=compiler_options())


def generate_images(
    model: Model,
    weights: Any,
    buffers: dict,
    z: Float[Array | np.ndarray, "N J"],
    y: Integer[Array | np.ndarray, " N"],
    batch_size: int = 100,
    *,
    batch_statistics: bool = False,
) -> Float[np.ndarray, "N H W C"]:
    """Decodes latents and components to images in [-1, 1] by the EMA generator, with `generator_buffers`.

    With `batch_statistics` every call normalises by its own statistics; the padding of the last one is repetitions.
    """
    program = functools.partial(_compiled_generator(model, batch_statistics), weights.ema["params"], buffers)
    return next(_in_batches(program, batch_size, z, y))
