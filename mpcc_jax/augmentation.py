"""Augmentation as a channel x' = T(x): the discriminator and the encoder see transformed images, real and generated.

With x' in the place of x all of Eqs. 3 to 10 hold; where p(x') = q(x'), p(x) = q(x) too if the probability of T is
below 1/2. Augmenting real images alone would teach the generator to draw augmented ones.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Key

# Folded into the key, apart from the three keys of an iteration's noise, which are splits of the same key.
_STREAM = 0x617567
BORDERS = ("black", "edge", "reflect")
_NUM_DRAWS = 11  # of one image: whether, two for the shift, rotation, scale, shear, flip, two colours, two for cutout


class Augmentation(NamedTuple):
    """What T is drawn from: all amounts are the largest of a uniform draw around none.

    Attributes:
      probability: of T; otherwise an image stays as it is. 0 is off.
      where: who sees T(x), "discriminator", "encoder" or "both".
      shift: of the side, along both axes.
      rotation: in degrees.
      scale: 0.1 is from 1/1.1 to 1.1 times as large.
      shear: slope.
      flip: whether half of the images are mirrored, left to right.
      brightness: that is added, where 2 is from black to white.
      contrast: share by which distances to the image's mean change.
      cutout: side of a gray square over the image's.
      border: what lies beyond it, "black", "edge" or "reflect".
    """

    probability: float = 0.0
    where: str = "both"
    shift: float = 0.125
    rotation: float = 12.0
    scale: float = 0.1
    shear: float = 0.1
    flip: bool = False
    brightness: float = 0.0
    contrast: float = 0.0
    cutout: float = 0.0
    border: str = "black"

    def acts_on(self, network: str) -> bool:
        """Whether a network, "discriminator" or "encoder", sees T(x)."""
        return self.probability > 0 and self.where in (network, "both")


class Transforms(NamedTuple):
    """Draws of T for one iteration, uniform in [0, 1); None for a network that sees x."""

    discriminator: Float[Array, "D_steps 2*B draws"] | None = None  # generated and real images
    generator: Float[Array, "B draws"] | None = None
    encoder: Float[Array, "E_steps B draws"] | None = None


def draw_transforms(
    augmentation: Augmentation,
    key: Key[Array, ""],
    iteration: int | Integer[Array, ""],
    batch_size: int,
    discriminator_steps: int,
    encoder_steps: int,
) -> Transforms:
    """Draws the transforms of one iteration, a function of the run's key and the iteration."""
    keys = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, iteration), _STREAM), 3)

    def draw(key, network, *shape):
        return jax.random.uniform(key, (*shape, _NUM_DRAWS)) if augmentation.acts_on(network) else None

    return Transforms(
        draw(keys[0], "discriminator", discriminator_steps, 2 * batch_size),
        draw(keys[1], "discriminator", batch_size),
        draw(keys[2], "encoder", encoder_steps, batch_size),
    )


def _place(coordinates: Array, size: int, border: str) -> Array:
    """Maps what lies beyond the border to pixels within, if there are any."""
    if border == "edge":
        return jnp.clip(coordinates, 0, size - 1)
    if border == "reflect":
        return (size - 1) - jnp.abs((size - 1) - jnp.mod(coordinates, 2 * (size - 1)))
    return coordinates


def _interpolation(coordinates: Array, size: int) -> Array:
    """Weights [..., size] of linear interpolation at coordinates [...]; zero beyond the border."""
    pixels = jnp.arange(size, dtype=coordinates.dtype).reshape((1,) * coordinates.ndim + (size,))
    return jnp.maximum(0.0, 1.0 - jnp.abs(coordinates[..., None] - pixels))


def _move(augmentation: Augmentation, images: Array, signed: Array, mirrored: Array) -> Array:
    """Resamples rows and then columns (Catmull and Smith, 1980), two matmuls: no gathers, which are slow backwards."""
    height, width = images.shape[1:3]
    down, right = augmentation.shift * height * signed[:, 0], augmentation.shift * width * signed[:, 1]
    angle = jnp.deg2rad(augmentation.rotation) * signed[:, 2]
    scale, shear = (1.0 + augmentation.scale) ** signed[:, 3], augmentation.shear * signed[:, 4]
    cosine, sine, mirror = scale * jnp.cos(angle), scale * jnp.sin(angle), jnp.where(mirrored, -1.0, 1.0)
    # Pixel (x, y), from the centre, shows what was at (xx x + xy y + right, yx x + yy y + down).
    xx, xy, yx, yy, right, down = (
        entry[:, None, None]
        for entry in (mirror * cosine, shear * cosine - sine, mirror * sine, shear * sine + cosine, right, down)
    )
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    rows = jnp.arange(height, dtype=images.dtype).reshape(1, -1, 1) - middle_row
    columns = jnp.arange(width, dtype=images.dtype).reshape(1, 1, -1) - middle_column
    sources = (xx - xy * yx / yy) * columns + xy / yy * (rows - down) + right
    sources = _place(sources + middle_column, width, augmentation.border)
    images = jnp.einsum("bvxu,bvuc->bvxc", _interpolation(sources, width), images, precision="highest")
    rows, columns = rows.swapaxes(1, 2), columns.swapaxes(1, 2)
    sources = yx * columns + yy * rows + down
    sources = _place(sources + middle_row, height, augmentation.border)
    return jnp.einsum("bxyv,bvxc->byxc", _interpolation(sources, height), images, precision="highest")


def augment(
    augmentation: Augmentation, images: Float[Array, "B H W C"], draws: Float[Array, "B draws"] | None
) -> Float[Array, "B H W C"]:
    """Transforms images in [-1, 1] by the draws of `draw_transforms`; None changes nothing."""
    if draws is None:
        return images
    applied = draws[:, 0] < augmentation.probability
    draws = draws.astype(images.dtype)
    signed, new = 2.0 * draws[:, 1:] - 1.0, images
    if augmentation.shift or augmentation.rotation or augmentation.scale or augmentation.shear or augmentation.flip:
        mirrored = (draws[:, 6] < 0.5) & augmentation.flip
        new = _move(augmentation, new + 1.0, signed, mirrored) - 1.0
    if augmentation.brightness or augmentation.contrast:
        brightness, contrast = (
            amount * signed[:, column, None, None, None]
            for column, amount in ((6, augmentation.brightness), (7, augmentation.contrast))
        )
        mean = jnp.mean(new, axis=(1, 2, 3), keepdims=True)
        new = jnp.clip(mean + (new - mean) * (1.0 + contrast) + brightness, -1.0, 1.0)
    if augmentation.cutout:
        covered = [
            jnp.abs(jnp.arange(size)[None] + 0.5 - size * draws[:, column, None]) < augmentation.cutout * size / 2
            for column, size in zip((9, 10), images.shape[1:3], strict=True)
        ]
        new = jnp.where((covered[0][:, :, None] & covered[1][:, None, :])[..., None], 0.0, new)
    return jnp.where(applied[:, None, None, None], new, images)


def tangents(augmentation: Augmentation, images: Float[Array, "B H W C"]) -> Float[Array, "B 7 H W C"]:
    """Returns by how much T moves each image for each amount: shifts, rotation, scale, shear, brightness, contrast.

    Central differences at half the largest amounts; zero for an amount that is zero, all zero if T is off.

    References:
      Simard, LeCun and Denker. Efficient Pattern Recognition Using a New Transformation Distance. NIPS 1992.
    """
    augmentation = augmentation._replace(flip=False, cutout=0.0)
    middle = jnp.full((_NUM_DRAWS,), 0.5).at[0].set(0.0)  # applied wherever the probability is above zero

    def difference(column):
        ahead, behind = (
            augment(augmentation, images, jnp.broadcast_to(middle.at[column].add(step), (len(images), _NUM_DRAWS)))
            for step in (0.25, -0.25)
        )
        return ahead - behind

    return jax.vmap(difference, out_axes=1)(jnp.array([1, 2, 3, 4, 5, 7, 8]))
