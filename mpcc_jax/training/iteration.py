"""One iteration of Algorithm 1, and many in one compiled call."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.augmentation import augment, draw_augmentation
from mpcc_jax.data.sampler import to_batch
from mpcc_jax.training.noise import draw_noise, split_noise
from mpcc_jax.training.phases import discriminator_steps, encoder_step, generator_step, update_ema
from mpcc_jax.training.state import state_shapes


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
    is_first = jnp.arange(algorithm.encoder_steps) == 0
    with algorithm.model.precision.scope():  # for the gradients too, which are traced after the networks
        state, critic = discriminator_steps(algorithm, state, batch, noise.discriminator)
        state, generated = generator_step(algorithm, state, noise.generator)
        state, encoded = lax.scan(functools.partial(encoder_step, algorithm), state, (noise.encoder, is_first))
    return update_ema(algorithm, state), {"discriminator": critic, "generator": generated, "encoder": encoded}


FIRST_STEP_METRICS = ("membership_cross_entropy", "prior_negative_entropy", "prior_accuracy", "gradient_norm_prior")


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


def train_many(algorithm, state, examples, noise_key, layout=None):
    """Several iterations of Algorithm 1 in one program.

    Args:
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      examples: `Examples` with images [iterations, D_steps, B, H, W, C], from a loader.
      noise_key: the run's PRNG key for noise.
      layout: the `Layout` of the devices that share the work; None leaves it to the shardings of the inputs.

    Returns:
      The state, and metrics by name, each [iterations].
    """

    def one(state, examples):
        draws = draw_augmentation(algorithm.augmentation, noise_key, state.iteration, examples.images.shape[:2])
        examples = augment(algorithm.augmentation, examples, *draws)
        noise = draw_noise(algorithm, noise_key, state.iteration)
        noise = noise if layout is None else split_noise(noise, layout)
        state, trace = train_iteration(algorithm, state, to_batch(examples), noise)
        state = state if layout is None else layout.pin(state)
        return state, summarize(algorithm, trace)

    return lax.scan(one, state, examples)


# The same function for equal arguments, so that runs which are alike compile once.
@functools.lru_cache(maxsize=8)
def compile_train_many(algorithm, layout=None):
    """`train_many` as a jitted function of (state, examples, noise key) that reuses the memory of its state.

    Args:
      algorithm: the `Algorithm`.
      layout: the `Layout` of the devices; None is the first one.

    Returns:
      The jitted function; it compiles once per number of iterations. With several seeds all arguments and results have
      a leading axis of them.
    """
    program, options = functools.partial(train_many, algorithm, layout=layout), compiler_options()
    if layout is None:
        return jax.jit(program, donate_argnums=0, compiler_options=options)
    if layout.num_seeds > 1:
        program = jax.vmap(program, spmd_axis_name="seed")
    shardings = (layout.state(state_shapes(algorithm)), layout.replicated)
    return jax.jit(program, donate_argnums=0, out_shardings=shardings, compiler_options=options)
