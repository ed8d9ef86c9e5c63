"""The PRNG keys of a run: one per use, all from its seed."""

import dataclasses

import jax


@dataclasses.dataclass(frozen=True)
class Keys:
    """The PRNG keys of a run.

    Attributes:
      init: of parameters.
      data: of the order of the examples.
      noise: of the latents in training.
      evaluation: of the latents in pictures and standing statistics.
    """

    init: jax.Array
    data: jax.Array
    noise: jax.Array
    evaluation: jax.Array


def split_seed(seed):
    """The keys of a run.

    Args:
      seed: integer.

    Returns:
      `Keys`, on the first device of this host.
    """
    return Keys(*jax.random.split(jax.random.key(seed), 4))
