"""The trained networks as they are evaluated: encoder to clusters, EMA generator to images."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.loader import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate
from mpcc_jax.prior import draw_latents


class Encoding(NamedTuple):
    """What the encoder says about images.

    Attributes:
      mean: of q(z given x), [N, J].
      log_var: of q(z given x), [N, J].
      log_membership: log q(y given z) at the mean (Eq. 9), nats, [N, K].
      log_prob: log density of the mean under the prior, nats, [N].
    """

    mean: np.ndarray
    log_var: np.ndarray
    log_membership: np.ndarray
    log_prob: np.ndarray


def _in_batches(program, batch_size, *arrays):
    """Results of a program on all rows, in NumPy; the last batch repeats rows, so that one program serves all."""
    outputs = []
    for start in range(0, len(arrays[0]), batch_size):
        batch = [np.asarray(array[start : start + batch_size]) for array in arrays]
        count = len(batch[0])
        full = [part if count == batch_size else part[np.arange(batch_size) % count] for part in batch]
        outputs.append([np.asarray(result)[:count] for result in jax.tree.leaves(program(*full))])
    return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


@functools.cache
def _compiled_encoder(model):
    def encoder(params, buffers, images):
        images = to_float(images) if images.dtype == jnp.uint8 else images
        (mean, log_var), _ = encode(model, params, buffers, images, train=False)
        mixture = model.prior.membership_mixture(params["prior"])
        return mean, log_var, log_membership(mean, mixture), mixture.log_prob(mean)

    return jax.jit(encoder, compiler_options=compiler_options())


def encode_images(model, state, images, batch_size=500):
    """Latents, memberships and densities of real images, by the online encoder (no EMA, as released).

    Args:
      model: the `Model`.
      state: the `TrainState`, or anything with its `params` and `buffers`.
      images: uint8, or floats in [-1, 1], [N, H, W, C].
      batch_size: images per call; the last call is padded, so one program serves all.

    Returns:
      An `Encoding`.
    """
    program = functools.partial(_compiled_encoder(model), state.params, state.buffers)
    return Encoding(*_in_batches(program, batch_size, images))


def standing_statistics(model, state, key, num_passes=16, batch_size=50):
    """Batch-norm statistics of the EMA generator averaged over several passes (appendix C).

    Args:
      model: the `Model`.
      state: the `TrainState`.
      key: PRNG key for the latents.
      num_passes: 16 in the paper.
      batch_size: latents per pass.

    Returns:
      The generator's buffers with those statistics.
    """
    generator = model.generator.clone(standardize=functools.partial(model.generator.standardize, momentum=1.0))
    latents = draw_latents(key, (num_passes, batch_size), model.prior)
    mixture = model.prior.sampling_mixture(state.params["prior"])
    variables = {"params": state.ema["params"], **state.ema["buffers"]}

    def one_pass(_, latents):
        z = mixture.sample(*latents)
        with model.precision.scope():
            _, advanced = generator.apply(variables, z, latents.y, True, mutable=["batch_stats", "spectral"])
        return None, advanced["batch_stats"]

    passes = jax.jit(lambda latents: jax.lax.scan(one_pass, None, latents), compiler_options=compiler_options())
    _, statistics = passes(latents)
    return {**state.ema["buffers"], "batch_stats": jax.tree.map(lambda x: x.mean(axis=0), statistics)}


def generator_buffers(model, state, statistics, key, num_passes=16, batch_size=50):
    """The generator's batch-norm statistics for evaluation.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      statistics: one of `mpcc_jax.config.STATISTICS`: "standing", the mean over several passes (appendix C);
        "running", the moving average from training; "batch", those of each batch (the released code).
      key: PRNG key for the latents of the passes.
      num_passes: 16 in the paper.
      batch_size: latents per pass.

    Returns:
      The generator's buffers; the same for "running" and "batch".
    """
    if statistics == "standing":
        return standing_statistics(model, state, key, num_passes, batch_size)
    return state.ema["buffers"]


@functools.cache
def _compiled_generator(model, train):
    def generator(params, buffers, z, y):
        images, _ = generate(model, {"generator": params}, {"generator": buffers}, z, y, train=train)
        return images

    return jax.jit(generator, compiler_options=compiler_options())


def generate_images(model, state, buffers, z, y, batch_size=100, *, batch_statistics=False):
    """Images of latents by the EMA generator.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      buffers: of the generator, from `generator_buffers`.
      z: latents, [B, J].
      y: components, integers, [B].
      batch_size: images per call; the last call is padded, so one program serves all.
      batch_statistics: whether every call normalises by its own statistics; its last rows are repetitions then.

    Returns:
      NumPy array in [-1, 1], [B, H, W, C].
    """
    program = functools.partial(_compiled_generator(model, batch_statistics), state.ema["params"], buffers)
    return _in_batches(program, batch_size, np.asarray(z), np.asarray(y))[0]
