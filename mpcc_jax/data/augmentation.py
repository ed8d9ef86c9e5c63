"""Optional augmentation of real images on the device: random crops of a reflected border, and mirroring."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Integer, Key

from mpcc_jax.data.loader import Examples

# Folded into the key, apart from the three keys of an iteration's noise, which are splits of the same key.
_STREAM = 0x617567


class Augmentation(NamedTuple):
    """Pixels of border on every side from which crops are taken, and whether half of the images are mirrored."""

    crop_padding: int = 0
    flip: bool = False


def draw_augmentation(
    augmentation: Augmentation, key: Key[Array, ""], iteration: int | Integer[Array, ""], shape: tuple[int, ...]
) -> tuple[Integer[Array, "*shape 2"] | None, Bool[Array, "*shape"] | None]:
    """Draws crops' offsets, from 0 to 2 * crop_padding, and whether to mirror; None for what is off."""
    crop_key, flip_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, iteration), _STREAM))
    span = 2 * augmentation.crop_padding + 1
    offsets = jax.random.randint(crop_key, (*shape, 2), 0, span) if augmentation.crop_padding else None
    return offsets, jax.random.bernoulli(flip_key, 0.5, shape) if augmentation.flip else None


def augment(
    augmentation: Augmentation,
    examples: Examples,
    offsets: Integer[Array | np.ndarray, "*shape 2"] | None,
    mirrored: Bool[Array | np.ndarray, "*shape"] | None,
) -> Examples:
    """Crops and mirrors images, [*shape, H, W, C], with draws of `draw_augmentation`; labels stay.

    The border reflects the image, since the generator would learn to draw a constant one.
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
