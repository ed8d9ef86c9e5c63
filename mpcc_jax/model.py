"""The model: three networks and a prior, and the pure functions that run them.

Parameters and buffers are dictionaries with one entry per part:
  params   "generator", "trunk", "discriminator", "encoder", "prior" (and "encoder_trunk" when nothing is shared)
  buffers  what training passes advance: "batch_stats" (generator) and "spectral" (all networks)
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray
from ml_collections import ConfigDict

from mpcc_jax.config import resolve_warm_start
from mpcc_jax.networks.discriminator import DiscriminatorHead, Trunk
from mpcc_jax.networks.encoder import EncoderHead
from mpcc_jax.networks.generator import Generator
from mpcc_jax.networks.normalization import Standardize
from mpcc_jax.networks.precision import PRECISIONS, Precision
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense, SpectralEmbed
from mpcc_jax.prior import MixturePrior, Prior, StandardNormalPrior
from mpcc_jax.variants import Conventions

Params = dict[str, Any]
Buffers = dict[str, Any]

# The same object for equal arguments: models of equal configurations are equal, so that programs cached by their model
# compile once.
_partial = functools.cache(functools.partial)


@dataclasses.dataclass(frozen=True)
class Model:
    """The networks and the prior of MPCC (figure 1)."""

    generator: nn.Module
    trunk: nn.Module
    discriminator: nn.Module  # what follows the trunk
    encoder: nn.Module  # what follows the trunk
    prior: Prior
    share_blocks: bool  # whether the encoder runs on the discriminator's trunk or on one of its own
    image_shape: tuple[int, int, int]  # (H, W, C)
    precision: Precision

    @property
    def discriminator_parts(self) -> tuple[str, str]:
        """theta_d: the entries of params that the discriminator owns."""
        return ("trunk", "discriminator")

    @property
    def encoder_parts(self) -> tuple[str, str]:
        """theta_e: the entries of params that the encoder owns."""
        return ("trunk" if self.share_blocks else "encoder_trunk", "encoder")


def build_model(
    config: ConfigDict, image_channels: int, conventions: Conventions, axis_name: str | None = None
) -> Model:
    """Makes the networks and the prior that a valid configuration describes.

    Args:
      axis_name: the pmap axis that a batch is split over, if any.
    """
    resolution, settings, rewrites = config.data.resolution, config.model, Rewrites(**config.speed)
    precision = PRECISIONS[config.training.precision]
    spectral = {
        "bias_init": conventions.bias_init,
        "num_iterations": settings.power_iterations,
        "epsilon": settings.spectral_epsilon,
        "dtype": precision.activations,
    }
    network = {
        "resolution": resolution,
        "channels": settings.channels,
        "conv": _partial(SpectralConv, **spectral),
        "rewrites": rewrites,
    }
    dense = _partial(SpectralDense, **spectral)
    standardize = _partial(
        Standardize, momentum=settings.batch_norm_momentum, epsilon=settings.batch_norm_epsilon, axis_name=axis_name
    )
    if config.prior.family == "standard_normal":
        prior = StandardNormalPrior(settings.latent_dim)
    else:
        sizes = (settings.num_clusters, settings.latent_dim)
        prior = MixturePrior(*sizes, floor=conventions.sigma_floor, **config.prior)
    return Model(
        generator=Generator(
            image_channels=image_channels,
            num_components=settings.num_clusters,
            conditioning=settings.conditioning,
            upsampling=conventions.upsampling,
            dense=dense,
            standardize=standardize,
            **network,
        ),
        trunk=Trunk(**network),
        discriminator=DiscriminatorHead(
            num_components=settings.num_clusters,
            projection=config.training.conditional or resolve_warm_start(config) > 0,
            dense=dense,
            embed=_partial(SpectralEmbed, **spectral),
            **network,
        ),
        encoder=EncoderHead(latent_dim=settings.latent_dim, dense=dense, **network),
        prior=prior,
        share_blocks=settings.share_blocks,
        image_shape=(resolution, resolution, image_channels),
        precision=precision,
    )


def init(model: Model, key: PRNGKeyArray) -> tuple[Params, Buffers]:
    """Draws initial parameters and buffers (Algorithm 1, lines 3 to 5)."""
    parts = ("generator", "trunk", "discriminator", "encoder", "encoder_trunk", "prior")
    keys = dict(zip(parts, jax.random.split(key, len(parts)), strict=True))
    # Shapes are enough: `lazy_init` draws the parameters and computes no forward pass, which would take seconds.
    dtype = jnp.result_type(float)
    z, y = jax.ShapeDtypeStruct((2, model.prior.latent_dim), dtype), jax.ShapeDtypeStruct((2,), jnp.int32)
    images = jax.ShapeDtypeStruct((2, *model.image_shape), dtype)
    variables = {"generator": model.generator.lazy_init(keys["generator"], z, y, True)}
    variables["trunk"] = model.trunk.lazy_init(keys["trunk"], images, True)
    features = jax.eval_shape(lambda: model.trunk.apply(variables["trunk"], jnp.zeros(images.shape, dtype), False))
    variables["discriminator"] = model.discriminator.lazy_init(keys["discriminator"], features, y, True)
    variables["encoder"] = model.encoder.lazy_init(keys["encoder"], features, True)
    if not model.share_blocks:
        variables["encoder_trunk"] = model.trunk.lazy_init(keys["encoder_trunk"], images, True)
    params = {part: tree["params"] for part, tree in variables.items()}
    buffers = {part: {k: v for k, v in tree.items() if k != "params"} for part, tree in variables.items()}
    return {**params, "prior": model.prior.init(keys["prior"])}, buffers


def _apply(
    model: Model,
    module: nn.Module,
    part: str,
    params: Params,
    buffers: Buffers,
    *inputs: ArrayLike | None,
    train: bool,
    **more: ArrayLike,
) -> tuple[Any, Buffers]:
    """Runs one part; a training pass advances its buffers."""
    variables, inputs = {"params": params[part], **buffers[part]}, jax.tree.map(jnp.asarray, inputs)
    with model.precision.scope():
        if not train:
            return module.apply(variables, *inputs, False, **more), buffers
        outputs, advanced = module.apply(variables, *inputs, True, **more, mutable=list(buffers[part]))
    return outputs, {**buffers, part: advanced}


def generate(
    model: Model, params: Params, buffers: Buffers, z: Float[ArrayLike, "B J"], y: Int[ArrayLike, " B"], *, train: bool
) -> tuple[Float[Array, "B H W C"], Buffers]:
    """Decodes latents of components y to images in [-1, 1], p(x | z, y).

    Args:
      train: True normalises by the batch and advances the buffers; False uses the stored statistics.
    """
    return _apply(model, model.generator, "generator", params, buffers, z, y, train=train)


def discriminate(
    model: Model,
    params: Params,
    buffers: Buffers,
    images: Float[ArrayLike, "B H W C"],
    y: Int[ArrayLike, " B"] | None,
    *,
    train: bool,
    projection: Float[ArrayLike, ""] = 1.0,
) -> tuple[Float[Array, " B"], Buffers]:
    """Scores images in [-1, 1]; `train` advances the buffers.

    Args:
      y: components or labels; only the projection reads them.
      projection: its weight.
    """
    features, buffers = _apply(model, model.trunk, "trunk", params, buffers, images, train=train)
    options = {"train": train, "weight": projection}
    return _apply(model, model.discriminator, "discriminator", params, buffers, features, y, **options)


def encode(
    model: Model, params: Params, buffers: Buffers, images: Float[ArrayLike, "B H W C"], *, train: bool
) -> tuple[tuple[Float[Array, "B J"], Float[Array, "B J"]], Buffers]:
    """Infers (mean, log variance) of q(z | x) from images in [-1, 1]. `train` advances the buffers."""
    trunk, head = model.encoder_parts
    features, buffers = _apply(model, model.trunk, trunk, params, buffers, images, train=train)
    return _apply(model, model.encoder, head, params, buffers, features, train=train)
