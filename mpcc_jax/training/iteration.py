"""One iteration of Algorithm 1, and many in one compiled call."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mpcc_jax.data.sampler import gather, stream_indices
from mpcc_jax.training.noise import draw_noise
from mpcc_jax.training.phases import discriminator_step, encoder_step, generator_step, update_ema


def train_iteration(algorithm, state, batch, noise):
    """One iteration of Algorithm 1, lines 7 to 28. Pure: all randomness is in `batch` and `noise`.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      batch: `Batch` with images [D_steps, B, H, W, C] in [-1, 1] and labels [D_steps, B] (or None).
      noise: the `Noise`.

    Returns:
      The state, and a trace: metrics by phase, with a leading axis of steps for "discriminator" and "encoder".
    """
    state, critic = lax.scan(functools.partial(discriminator_step, algorithm), state, (batch, noise.discriminator))
    state, generated = generator_step(algorithm, state, noise.generator)
    is_first = jnp.arange(algorithm.encoder_steps) == 0
    state, encoded = lax.scan(functools.partial(encoder_step, algorithm), state, (noise.encoder, is_first))
    return update_ema(algorithm, state), {"discriminator": critic, "generator": generated, "encoder": encoded}


FIRST_STEP_METRICS = ("membership_cross_entropy", "prior_negative_entropy", "prior_accuracy")


def summarize(algorithm, trace):
    """One scalar per metric: the last step's, and for the prior the first encoder step's.

    Args:
      algorithm: the `Algorithm`.
      trace: from `train_iteration`.

    Returns:
      Scalars by name; averaged over the pmap axis if there is one.
    """
    metrics = {name: values[-1] for name, values in trace["discriminator"].items()} | trace["generator"]
    for name, values in trace["encoder"].items():
        metrics[name] = values[0] if name in FIRST_STEP_METRICS else values[-1]
    return metrics if algorithm.axis_name is None else lax.pmean(metrics, algorithm.axis_name)


def train_many(algorithm, num_iterations, state, images, labels, keys):
    """`num_iterations` of Algorithm 1 in one program, on data that lives on the device.

    Args:
      algorithm: the `Algorithm`.
      num_iterations: static.
      state: the `TrainState`.
      images: the whole data set, uint8, [N, H, W, C].
      labels: integers, [N], or None.
      keys: (for the order of the data, for the noise).

    Returns:
      The state, and metrics by name, each [num_iterations].
    """
    data_key, noise_key = keys
    per_iteration = algorithm.discriminator_steps * algorithm.batch_size
    start = state.iteration.astype(jnp.uint32) * per_iteration
    indices = stream_indices(data_key, start, num_iterations * per_iteration, images.shape[0])
    indices = indices.reshape(num_iterations, algorithm.discriminator_steps, algorithm.batch_size)

    def one(state, indices):
        batch = gather(images, labels, indices)
        state, trace = train_iteration(algorithm, state, batch, draw_noise(algorithm, noise_key, state.iteration))
        return state, summarize(algorithm, trace)

    return lax.scan(one, state, indices)


def compile_train_many(algorithm, num_iterations):
    """`train_many` as a jitted function of (state, images, labels, keys) that reuses the memory of its state.

    Args:
      algorithm: the `Algorithm`.
      num_iterations: iterations per call.

    Returns:
      The jitted function.
    """
    return jax.jit(functools.partial(train_many, algorithm, num_iterations), donate_argnums=0)
