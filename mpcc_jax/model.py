"""The model: three networks and a prior, and the pure functions that run them.

Parameters and buffers are dictionaries with one entry per part:
  params   "generator", "trunk", "discriminator", "encoder", "prior" (and "encoder_trunk" when nothing is shared)
  buffers  what training passes advance: "batch_stats" (generator) and "spectral" (all networks)
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpcc_jax.networks.discriminator import DiscriminatorHead, Trunk
from mpcc_jax.networks.encoder import EncoderHead
from mpcc_jax.networks.generator import Generator
from mpcc_jax.networks.normalization import Standardize
from mpcc_jax.networks.precision import PRECISIONS, Precision
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.networks.spectral import SpectralConv, SpectralDense, SpectralEmbed
from mpcc_jax.networks.spectral_groups import group_spectral_norms
from mpcc_jax.prior import GaussianMixturePrior, StandardNormalPrior

# The same object for the same settings: models of equal configurations are equal, and share compiled programs.
_partial = functools.cache(functools.partial)


@dataclasses.dataclass(frozen=True)
class Model:
    """The networks and the prior of MPCC (figure 1).

    Attributes:
      generator, trunk, discriminator, encoder: linen modules; discriminator and encoder are what follows the trunk.
      prior: what theta_c stands for.
      share_blocks: whether the encoder runs on the discriminator's trunk or on one of its own.
      image_shape: (H, W, channels).
      power_iterations, spectral_epsilon: of the spectral norms.
      batch_norm_momentum: weight of the newest batch in the running statistics.
      rewrites: the exact rewrites that are used.
      precision: of convolutions and matrix products.
    """

    generator: nn.Module
    trunk: nn.Module
    discriminator: nn.Module
    encoder: nn.Module
    prior: GaussianMixturePrior | StandardNormalPrior
    share_blocks: bool
    image_shape: tuple[int, int, int]
    power_iterations: int
    spectral_epsilon: float
    batch_norm_momentum: float
    rewrites: Rewrites
    precision: Precision

    @property
    def discriminator_parts(self):
        """theta_d: the entries of params that the discriminator owns."""
        return ("trunk", "discriminator")

    @property
    def encoder_parts(self):
        """theta_e: the entries of params that the encoder owns."""
        return ("trunk" if self.share_blocks else "encoder_trunk", "encoder")


def build_model(config, image_channels, conventions, axis_name=None):
    """Makes the networks and the prior that a configuration describes.

    Args:
      config: the configuration, validated.
      image_channels: 1 or 3.
      conventions: from `config.resolve_conventions`.
      axis_name: the pmap axis that a batch is split over, if any.

    Returns:
      A `Model`.
    """
    resolution, settings, rewrites = config.data.resolution, config.model, Rewrites(**config.speed)
    precision = PRECISIONS[config.training.precision]
    spectral = {
        "bias_init": conventions.bias_init,
        "num_iterations": settings.power_iterations,
        "epsilon": settings.spectral_epsilon,
        "dtype": precision.activations,
    }
    conv = _partial(SpectralConv, **spectral)
    dense = _partial(SpectralDense, **spectral)
    standardize = _partial(
        Standardize,
        momentum=settings.batch_norm_momentum,
        epsilon=settings.batch_norm_epsilon,
        axis_name=axis_name,
    )
    if config.prior.kind == "standard_normal":
        prior = StandardNormalPrior(settings.latent_dim)
    else:
        prior = GaussianMixturePrior(
            settings.num_clusters,
            settings.latent_dim,
            config.prior.sigma_min,
            config.prior.initial_log_var,
            conventions.sigma_floor,
        )
    return Model(
        generator=Generator(
            resolution,
            image_channels,
            settings.channels,
            settings.num_clusters,
            settings.conditioning,
            conventions.upsampling,
            conv,
            dense,
            standardize,
            rewrites,
        ),
        trunk=Trunk(resolution, settings.channels, conv, rewrites),
        discriminator=DiscriminatorHead(
            resolution,
            settings.channels,
            settings.num_clusters,
            config.training.conditional,
            conv,
            dense,
            _partial(SpectralEmbed, **spectral),
            rewrites,
        ),
        encoder=EncoderHead(resolution, settings.channels, settings.latent_dim, conv, dense, rewrites),
        prior=prior,
        share_blocks=settings.share_blocks,
        image_shape=(resolution, resolution, image_channels),
        power_iterations=settings.power_iterations,
        spectral_epsilon=settings.spectral_epsilon,
        batch_norm_momentum=settings.batch_norm_momentum,
        rewrites=rewrites,
        precision=precision,
    )


def init(model, key):
    """Initial parameters and buffers (Algorithm 1, lines 3 to 5).

    Args:
      model: the `Model`.
      key: PRNG key.

    Returns:
      params and buffers, dictionaries by part.
    """
    keys = dict(zip(("generator", "trunk", "discriminator", "encoder", "encoder_trunk", "prior"),
                    jax.random.split(key, 6), strict=True))  # fmt: skip
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


def _run(model, module, part, params, buffers, *inputs, train):
    """Applies one part; a training pass advances its buffers."""
    variables, advanced = {"params": params[part], **buffers[part]}, {}
    if model.rewrites.grouped_spectral_norms:
        spectral = variables.pop("spectral")
        norms = group_spectral_norms(params[part], spectral, model.power_iterations, model.spectral_epsilon)
        variables["sigmas"], advanced["spectral"] = norms
    with model.precision.scope():
        if not train:
            return module.apply(variables, *inputs, False), buffers
        mutable = [name for name in buffers[part] if name in variables]
        outputs, rest = module.apply(variables, *inputs, True, mutable=mutable)
    return outputs, {**buffers, part: {**advanced, **rest}}


def generate(model, params, buffers, z, y, *, train):
    """Decodes latents to images, p(x given z, y).

    Args:
      model: the `Model`.
      params, buffers: dictionaries by part.
      z: latents, [B, J].
      y: components, integers, [B].
      train: True normalises by the batch and advances the buffers; False uses the stored statistics.

    Returns:
      Images in [-1, 1], [B, H, W, C], and the buffers.
    """
    return _run(model, model.generator, "generator", params, buffers, z, y, train=train)


def generate_passes(model, params, buffers, z, y):
    """`generate` in several training passes with the same parameters, as one batch.

    Every pass has statistics and spectral norms of its own: a convolution runs on all of them with the raw kernel, and
    sigma of each pass divides what comes out.

    Args:
      model: the `Model`.
      params, buffers: dictionaries by part.
      z: latents, [T, B, J].
      y: components, integers, [T, B].

    Returns:
      Images in [-1, 1], [T, B, H, W, C], and the buffers after T passes.
    """
    variables = {"params": params["generator"], **buffers["generator"]}
    spectral, statistics = variables.pop("spectral"), variables["batch_stats"]

    def iterate(spectral, _):
        norms = group_spectral_norms(params["generator"], spectral, model.power_iterations, model.spectral_epsilon)
        return norms[1], norms[0]

    def decode(sigmas, z, y):
        with model.precision.scope():
            variables_of_pass = {**variables, "pass_sigmas": sigmas}
            return model.generator.apply(variables_of_pass, z, y, True, mutable=["batch_stats"])

    keep = 1.0 - model.batch_norm_momentum

    def follow(running, advanced):
        """A pass by itself went from the first statistics; what it added is added to those of the pass before."""
        added = jax.tree.map(lambda after, before: after - keep * before, advanced, statistics)
        return jax.tree.map(lambda running, added: keep * running + added, running, added), None

    spectral, sigmas = jax.lax.scan(iterate, spectral, length=z.shape[0])
    images, advanced = jax.vmap(decode)(sigmas, z, y)
    running, _ = jax.lax.scan(follow, statistics, advanced["batch_stats"])
    return images, {**buffers, "generator": {"spectral": spectral, "batch_stats": running}}


def discriminate(model, params, buffers, images, y, *, train):
    """Scores images.

    Args:
      model: the `Model`.
      params, buffers: dictionaries by part.
      images: in [-1, 1], [B, H, W, C].
      y: components or labels, integers, [B]; read by the projection only.
      train: whether to advance the buffers.

    Returns:
      Logits, [B], and the buffers.
    """
    features, buffers = _run(model, model.trunk, "trunk", params, buffers, images, train=train)
    return _run(model, model.discriminator, "discriminator", params, buffers, features, y, train=train)


def encode(model, params, buffers, images, *, train):
    """Infers latents, q(z given x).

    Args:
      model: the `Model`.
      params, buffers: dictionaries by part.
      images: in [-1, 1], [B, H, W, C].
      train: whether to advance the buffers.

    Returns:
      (mean, log variance), each [B, J], and the buffers.
    """
    trunk, head = model.encoder_parts
    features, buffers = _run(model, model.trunk, trunk, params, buffers, images, train=train)
    return _run(model, model.encoder, head, params, buffers, features, train=train)
