"""The randomness of an iteration, drawn outside it: y and eps of lines 9-10, 14-15 and 19-20 of Algorithm 1."""

import functools
import operator
from typing import NamedTuple

import chex
import jax


class Latents(NamedTuple):
    """Draws behind a batch of latents; z = mu_y + sigma_y eps is computed with the prior of the moment.

    Attributes:
      y: components, integers, [..., B].
      eps: standard normal, [..., B, J].
    """

    y: chex.Array
    eps: chex.Array


class Noise(NamedTuple):
    """All draws of one iteration.

    Attributes:
      discriminator: [D_steps, B].
      generator: [B].
      encoder: [E_steps, B].
    """

    discriminator: Latents
    generator: Latents
    encoder: Latents


def draw_latents(key, shape, prior):
    """Draws y ~ p(y), uniform, and eps ~ N(0, I).

    Args:
      key: PRNG key.
      shape: leading shape.
      prior: says K and J.

    Returns:
      `Latents` with y of `shape` and eps of (*shape, J).
    """
    component_key, normal_key = jax.random.split(key)
    y = jax.random.randint(component_key, shape, 0, prior.num_components)
    return Latents(y, jax.random.normal(normal_key, (*shape, prior.latent_dim)))


def draw_noise(algorithm, key, iteration):
    """The noise of one iteration, a function of the seed's key and the iteration alone.

    Args:
      algorithm: the `Algorithm`.
      key: the run's PRNG key for noise.
      iteration: integer scalar.

    Returns:
      A `Noise`.
    """
    keys = jax.random.split(jax.random.fold_in(key, iteration), 3)
    critic, encoder = algorithm.discriminator_steps, algorithm.encoder_steps
    # The same for all phases, and then cut: XLA compiles one generator instead of three, and a draw does not depend on
    # how many follow it.
    shape = (max(critic, encoder), algorithm.batch_size)
    latents = jax.vmap(functools.partial(draw_latents, shape=shape, prior=algorithm.model.prior))(keys)

    def cut(*index):
        return jax.tree.map(operator.itemgetter(index), latents)

    return Noise(cut(0, slice(critic)), cut(1, 0), cut(2, slice(encoder)))


def split_noise(noise, layout):
    """Divides noise over devices like the batch that it makes; else every device would generate all of it.

    Args:
      noise: `Noise`.
      layout: the `Layout`.

    Returns:
      The same noise.
    """
    axes = Noise(discriminator=(None, "batch"), generator=("batch",), encoder=(None, "batch"))
    return Noise(*(
        Latents(*(layout.constrain(part, *spread) for part in latents))
        for latents, spread in zip(noise, axes, strict=True)
    ))  # fmt: skip
