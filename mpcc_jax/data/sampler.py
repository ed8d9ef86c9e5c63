"""Sampling without replacement, a pure function of the seed and the position in the stream.

The stream is epoch after epoch, each in an order of its own; example number p belongs to epoch p // N. A batch may
reach across two epochs, so every epoch holds every example exactly once.
"""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp


class Examples(NamedTuple):
    """Images as they are stored, and their labels.

    Attributes:
      images: uint8, [..., B, H, W, C].
      labels: integers, [..., B], or None.
    """

    images: chex.Array
    labels: chex.Array | None


class Batch(NamedTuple):
    """Images as the networks see them, and their labels.

    Attributes:
      images: in [-1, 1], float32, [..., B, H, W, C].
      labels: integers, [..., B], or None.
    """

    images: chex.Array
    labels: chex.Array | None


def epoch_order(key, epoch, num_examples):
    """The order of one epoch, from a key folded from (seed, epoch).

    Args:
      key: the run's PRNG key for data.
      epoch: integer scalar.
      num_examples: N.

    Returns:
      A permutation of 0 .. N-1, int32, [N].
    """
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)


def to_float(images):
    """uint8 pixels to [-1, 1].

    Args:
      images: uint8, [...].

    Returns:
      float32 (float64 where jax is told to use it), [...].
    """
    return images.astype(jnp.result_type(float)) / 127.5 - 1.0


def to_batch(examples):
    """Examples as the networks see them.

    Args:
      examples: `Examples`.

    Returns:
      A `Batch`.
    """
    return Batch(to_float(examples.images), examples.labels)


def gather(images, labels, indices):
    """Picks examples.

    Args:
      images: uint8, [N, H, W, C].
      labels: integers, [N], or None.
      indices: [...].

    Returns:
      `Examples`.
    """
    return Examples(images[indices], None if labels is None else labels[indices])
