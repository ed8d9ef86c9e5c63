"""What Algorithm 1 is run with, the state that it changes, and how a seed becomes the first state."""

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

import chex
import flax
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from mpcc_jax.augmentation import Augmentation
from mpcc_jax.config import default_config, resolve_augmentation, resolve_conventions, resolve_warm_start, settings_of
from mpcc_jax.losses import ADVERSARIAL_LOSSES, AdversarialLoss
from mpcc_jax.model import Model, build_model, init
from mpcc_jax.training.sharding import Layout
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
    warm_start: int  # iterations, the first ones, that are conditional
    augmentation: Augmentation
    ema_decay: float
    ema_start: int  # the average is a copy while fewer iterations are finished
    axis_name: str | None = None  # of pmap, over which gradients are averaged

    @property
    def prior_generator_optimizer(self) -> str:
        """The optimizer that moves the prior on Loss I."""
        return "prior" if self.conventions.prior_optimizers == "shared" else "prior_generator"

    @property
    def needs_labels(self) -> bool:
        """Whether batches have labels."""
        return self.conditional or self.warm_start > 0

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
        for name in (
            *("variant", "conventions", "augmentation", "data", "model"),
            *("prior", "loss", "training", "speed", "ema"),
        )
    }
    settings["data"] = {"resolution": settings["data"]["resolution"]}
    warm_start = resolve_warm_start(config)
    # The share of so many iterations is that number again; without a warm start the length makes no difference.
    length = {"iterations": config.training.iterations if warm_start else 1, "iterations_per_call": 1}
    settings["training"] = {**settings["training"], **length}
    return _build(json.dumps(settings, sort_keys=True), image_channels, axis_name)


@functools.lru_cache(maxsize=32)
def _build(settings: str, image_channels: int, axis_name: str | None) -> Algorithm:
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
        warm_start=resolve_warm_start(config),
        augmentation=Augmentation(**resolve_augmentation(config)),
        ema_decay=config.ema.decay,
        ema_start=config.ema.start,
        axis_name=axis_name,
    )


class Keys(NamedTuple):
    """The PRNG keys of a run, one per use."""

    init: jax.Array
    data: jax.Array
    noise: jax.Array
    evaluation: jax.Array


def split_seed(seed: int) -> Keys:
    """Returns the keys of the run of `config.seed`: all its randomness comes from them."""
    return Keys(*jax.random.split(jax.random.key(seed), 4))


@flax.struct.dataclass
class TrainState:
    """The state of Algorithm 1.

    Attributes:
      iteration: finished iterations.
      params: by part of the model, "prior" among them.
      buffers: batch-norm statistics and power iterations (u, sigma) by part.
      optimizers: optax states by name (`Algorithm.optimizers`).
      ema: moving averages {"params", "buffers"} of the generator.
    """

    iteration: chex.Array
    params: chex.ArrayTree
    buffers: chex.ArrayTree
    optimizers: chex.ArrayTree
    ema: chex.ArrayTree


def assemble_state(algorithm: Algorithm, params: chex.ArrayTree, buffers: chex.ArrayTree) -> TrainState:
    """Makes a state at iteration 0 around parameters and buffers."""
    return TrainState(
        iteration=jnp.zeros((), jnp.int32),
        params=params,
        buffers=buffers,
        optimizers={
            name: algorithm.optimizers[name].init({part: params[part] for part in parts})
            for name, parts in algorithm.optimized_parts.items()
        },
        # Copies: a state whose buffers are donated may hold none of them twice.
        ema=jax.tree.map(jnp.copy, {"params": params["generator"], "buffers": buffers["generator"]}),
    )


# The same function for the same algorithm, so that its shapes and its program are of one trace.
@functools.lru_cache(maxsize=8)
def _first_state(algorithm: Algorithm) -> Callable[[jax.Array], TrainState]:
    return lambda key: assemble_state(algorithm, *init(algorithm.model, key))


@functools.cache
def _shapes(algorithm: Algorithm, double: bool) -> TrainState:
    del double  # the types depend on it
    return jax.eval_shape(_first_state(algorithm), jax.random.key(0))


def state_shapes(algorithm: Algorithm) -> TrainState:
    """Returns the shapes and types of a state without making one."""
    return _shapes(algorithm, jax.config.jax_enable_x64)


@functools.lru_cache(maxsize=8)
def _compile_first_state(
    algorithm: Algorithm, layout: Layout | None, shape: tuple[int, ...], double: bool
) -> Callable[[jax.Array], TrainState]:
    del double  # the types depend on it
    program, shardings = _first_state(algorithm), {}
    if layout is not None:
        program = jax.vmap(program) if layout.num_seeds > 1 else program
        shardings = {"in_shardings": layout.by_seed, "out_shardings": layout.state(state_shapes(algorithm))}
    # It runs once, so compiling it quickly (5 s against 12 s on 2 cores) beats running it quickly.
    jitted = jax.jit(program, **shardings, compiler_options={"xla_backend_optimization_level": 0})
    # By shape, as `state_shapes` traces it: a key on a mesh is of another type, and would be traced again.
    return jitted.lower(jax.ShapeDtypeStruct(shape, jax.random.key(0).dtype)).compile()


def init_state(algorithm: Algorithm, key: jax.Array, layout: Layout | None = None) -> TrainState:
    """Algorithm 1, lines 1 to 5. With several seeds `key` has an entry for each, and the state a leading axis."""
    return _compile_first_state(algorithm, layout, key.shape, jax.config.jax_enable_x64)(key)


def abstract_state(algorithm: Algorithm, layout: Layout) -> TrainState:
    """Returns the shapes, types and shardings that a checkpoint is restored into."""
    shapes, leading = state_shapes(algorithm), (layout.num_seeds,) if layout.num_seeds > 1 else ()
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leading + leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.state(shapes),
    )
