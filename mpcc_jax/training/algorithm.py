"""Algorithm 1 as a configuration describes it: the model, its losses and its optimizers."""

import dataclasses
import functools
import json
from collections.abc import Mapping

import optax
from ml_collections import ConfigDict

from mpcc_jax.config import default_config, resolve_conventions, settings_of
from mpcc_jax.data.augmentation import Augmentation
from mpcc_jax.losses import ADVERSARIAL_LOSSES, AdversarialLoss
from mpcc_jax.model import Model, build_model
from mpcc_jax.variants import Conventions


@dataclasses.dataclass(frozen=True, eq=False)
class Algorithm:
    """What Algorithm 1 is run with. It is equal to itself alone, so compiled programs are kept by it."""

    model: Model
    adversarial: AdversarialLoss
    optimizers: Mapping[str, optax.GradientTransformation]
    conventions: Conventions
    prior_weight: float  # lambda_p
    batch_size: int
    discriminator_steps: int
    encoder_steps: int
    conditional: bool  # labels used as y
    augmentation: Augmentation
    ema_decay: float
    ema_start: int  # the average is a copy while fewer iterations are finished
    axis_name: str | None = None  # of pmap, over which gradients are averaged

    @property
    def prior_generator_optimizer(self) -> str:
        """The optimizer that moves the prior on Loss I."""
        return "prior" if self.conventions.prior_optimizers == "shared" else "prior_generator"

    @property
    def optimized_parts(self) -> dict[str, tuple[str, ...]]:
        """The entries of params that each optimizer moves."""
        return {
            "discriminator": self.model.discriminator_parts,
            "generator": ("generator",),
            "encoder": self.model.encoder_parts,
            "prior": ("prior",),
            self.prior_generator_optimizer: ("prior",),
        }


def build_algorithm(config: ConfigDict, image_channels: int, axis_name: str | None = None) -> Algorithm:
    """Makes the networks, losses and optimizers of a configuration.

    It is the same object for settings that compute the same, so that runs which are alike share compiled programs.
    """
    settings = settings_of(config)
    settings = {
        name: settings[name]
        for name in ("variant", "conventions", "data", "model", "prior", "loss", "training", "speed", "ema")
    }
    settings["data"] = {name: settings["data"][name] for name in ("resolution", "crop_padding", "flip")}
    settings["training"] = {**settings["training"], "iterations": 1, "iterations_per_call": 1}
    return _build(json.dumps(settings, sort_keys=True), image_channels, axis_name)


@functools.lru_cache(maxsize=32)
def _build(settings, image_channels, axis_name):
    config = default_config()
    config.update(json.loads(settings))
    training, conventions = config.training, resolve_conventions(config)

    def adam(learning_rate):
        return optax.adam(learning_rate, training.beta1, training.beta2, training.epsilon)

    names = ["discriminator", "generator", "encoder"]
    if conventions.prior_optimizers == "separate":
        names.append("prior_generator")
    return Algorithm(
        model=build_model(config, image_channels, conventions, axis_name),
        adversarial=ADVERSARIAL_LOSSES[config.loss.adversarial],
        optimizers={
            **{name: adam(training.learning_rate) for name in names},
            "prior": adam(training.prior_learning_rate),
        },
        conventions=conventions,
        prior_weight=config.loss.prior_weight,
        batch_size=training.batch_size,
        discriminator_steps=training.discriminator_steps,
        encoder_steps=training.encoder_steps,
        conditional=training.conditional,
        augmentation=Augmentation(config.data.crop_padding, config.data.flip),
        ema_decay=config.ema.decay,
        ema_start=config.ema.start,
        axis_name=axis_name,
    )
