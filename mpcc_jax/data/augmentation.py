"""Optional augmentation of real images on the device: random crops of a reflected border, and mirroring."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

# Apart from the three keys of an iteration's noise, which are splits of the same key.
_STREAM = 0x617567


class Augmentation(NamedTuple):
    """What is done to real images; by default nothing.

    Attributes:
      crop_padding: pixels of border on every side from which the crop is taken; 0 is none.
      flip: whether half of the images are mirrored, left to right.
    """

    crop_padding: int = 0
    flip: bool = False


def draw_augmentation(augmentation, key, iteration, shape):
    """The randomness of an iteration's augmentation.

    Args:
      augmentation: the `Augmentation`.
      key: the run's PRNG key for noise.
      iteration: integer scalar.
      shape: leading shape of the images.

    Returns:
      Offsets of the crops, int32 from 0 to 2 * crop_padding, [*shape, 2], or None; and whether to mirror, [*shape], or
      None.
    """
    crop_key, flip_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, iteration), _STREAM))
    span = 2 * augmentation.crop_padding + 1
    offsets = jax.random.randint(crop_key, (*shape, 2), 0, span) if augmentation.crop_padding else None
    return offsets, jax.random.bernoulli(flip_key, 0.5, shape) if augmentation.flip else None


def augment(augmentation, examples, offsets, mirrored):
    """Crops and mirrors images; labels stay.

    The border reflects the image, since the generator would learn to draw a constant one.

    Args:
      augmentation: the `Augmentation`.
      examples: `Examples` with images [..., H, W, C].
      offsets, mirrored: from `draw_augmentation`.

    Returns:
      `Examples`.
    """
    images, padding = examples.images, augmentation.crop_padding
    shape = images.shape[-3:]
    if offsets is not None:
        border = [(0, 0)] * (images.ndim - 3) + [(padding, padding), (padding, padding), (0, 0)]
        padded = jnp.pad(images, border, mode="reflect")
        crop = jax.vmap(lambda image, offset: jax.lax.dynamic_slice(image, (offset[0], offset[1], 0), shape))
        images = crop(padded.reshape(-1, *padded.shape[-3:]), offsets.reshape(-1, 2)).reshape(images.shape)
    if mirrored is not None:
        images = jnp.where(mirrored[..., None, None, None], images[..., ::-1, :], images)
    return examples._replace(images=images)
