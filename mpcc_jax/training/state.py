"""Everything that training changes, and everything that it does not."""

import dataclasses
import functools
from collections.abc import Callable, Mapping

import chex
import flax
import jax
import jax.numpy as jnp
import optax

from mpcc_jax.compilation import compile_ahead
from mpcc_jax.config import resolve_conventions
from mpcc_jax.data.augmentation import Augmentation
from mpcc_jax.losses import ADVERSARIAL_LOSSES
from mpcc_jax.model import Model, build_model, init
from mpcc_jax.variants import Conventions


@flax.struct.dataclass
class TrainState:
    """The state of Algorithm 1.

    Attributes:
      iteration: finished iterations, int32 scalar.
      params: by part: generator, trunk, discriminator, encoder, prior.
      buffers: by network: batch-norm statistics and the spectral vectors u.
      optimizers: one optax state per update: discriminator, generator, prior_generator, encoder, prior (the released
        variant has no prior_generator: its one Adam for the prior is "prior").
      ema: moving averages of the generator's params and buffers.
    """

    iteration: chex.Array
    params: chex.ArrayTree
    buffers: chex.ArrayTree
    optimizers: chex.ArrayTree
    ema: chex.ArrayTree


@dataclasses.dataclass(frozen=True, eq=False)
class Algorithm:
    """What Algorithm 1 is run with.

    Attributes:
      model: networks and prior.
      adversarial: f, g, h of Eq. 6.
      optimizers: one optax transformation per update.
      conventions: paper or released, point by point.
      prior_weight: lambda_p.
      batch_size: B, per call of `train_iteration` (per device under pmap).
      discriminator_steps, encoder_steps: D_steps and E_steps.
      conditional: whether labels are used as y.
      augmentation: what is done to real images.
      ema_decay, ema_start: of the generator's moving average; until iteration `ema_start` it is a copy.
      axis_name: the pmap axis that a batch is split over, if any.
    """

    model: Model
    adversarial: tuple[Callable, Callable, Callable]
    optimizers: Mapping[str, optax.GradientTransformation]
    conventions: Conventions
    prior_weight: float
    batch_size: int
    discriminator_steps: int
    encoder_steps: int
    conditional: bool
    augmentation: Augmentation
    ema_decay: float
    ema_start: int
    axis_name: str | None = None

    @property
    def prior_generator_optimizer(self):
        """The optimizer that moves the prior on Loss I."""
        return "prior" if self.conventions.prior_optimizers == "shared" else "prior_generator"

    @property
    def optimized_parts(self):
        """The entries of params that each optimizer moves."""
        parts = {
            "discriminator": self.model.discriminator_parts,
            "generator": ("generator",),
            "encoder": self.model.encoder_parts,
            "prior": ("prior",),
        }
        return {**parts, self.prior_generator_optimizer: ("prior",)}


def build_algorithm(config, image_channels, axis_name=None):
    """Algorithm 1 as a configuration describes it.

    Args:
      config: the configuration, validated.
      image_channels: 1 or 3.
      axis_name: the pmap axis that a batch is split over, if any.

    Returns:
      An `Algorithm`.
    """
    training, conventions = config.training, resolve_conventions(config)

    def adam(learning_rate):
        return optax.adam(learning_rate, training.beta1, training.beta2, training.epsilon)

    names = ["discriminator", "generator", "encoder"]
    if conventions.prior_optimizers == "separate":
        names.append("prior_generator")
    optimizers = {name: adam(training.learning_rate) for name in names}
    return Algorithm(
        model=build_model(config, image_channels, conventions, axis_name),
        adversarial=ADVERSARIAL_LOSSES[config.loss.adversarial],
        optimizers={**optimizers, "prior": adam(training.prior_learning_rate)},
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


def assemble_state(algorithm, params, buffers):
    """A state at iteration 0 around given parameters and buffers.

    Args:
      algorithm: the `Algorithm`.
      params, buffers: dictionaries by part.

    Returns:
      A `TrainState` with fresh optimizers, its moving average a copy of the generator.
    """
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


def _first_state(algorithm, key):
    return assemble_state(algorithm, *init(algorithm.model, key))


# The same function for the same algorithm, so that its shapes and its program are of one trace.
@functools.lru_cache(maxsize=8)
def _first_state_of(algorithm):
    return functools.partial(_first_state, algorithm)


@functools.cache
def _shapes(algorithm, double):
    del double  # part of the key: the types depend on it
    return jax.eval_shape(_first_state_of(algorithm), jax.random.key(0))


def state_shapes(algorithm):
    """What a state of an algorithm looks like, without making one.

    Args:
      algorithm: the `Algorithm`.

    Returns:
      A `TrainState` of `jax.ShapeDtypeStruct`s.
    """
    return _shapes(algorithm, jax.config.jax_enable_x64)


@functools.lru_cache(maxsize=8)
def _first_state_program(algorithm, layout):
    program, shardings = _first_state_of(algorithm), {}
    if layout is not None:
        program = jax.vmap(program) if layout.num_seeds > 1 else program
        shardings = {"in_shardings": layout.by_seed, "out_shardings": layout.state(state_shapes(algorithm))}
    # It runs once, so compiling it quickly (5 s against 12 s on 2 cores) beats running it quickly.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(program, **shardings, compiler_options=options)


def init_state(algorithm, key, layout=None):
    """Algorithm 1, lines 1 to 5.

    Args:
      algorithm: the `Algorithm`.
      key: PRNG key; from `Layout.replicate_keys` if there is a layout.
      layout: the `Layout`; None is one run on the first device.

    Returns:
      A `TrainState`, with a leading axis if the layout has several runs.
    """
    return _first_state_program(algorithm, layout)(key)


def compile_first_state(algorithm, key, layout):
    """Begins to compile what `init_state` runs, so that the caller can trace other programs meanwhile.

    Args:
      algorithm, key, layout: as for `init_state`.

    Returns:
      A `concurrent.futures.Future` of a function of the key.
    """
    # Not the key itself: on a mesh it is of another type than the one that the shapes were traced with.
    return compile_ahead(_first_state_program(algorithm, layout), jax.ShapeDtypeStruct(key.shape, key.dtype))


def abstract_state(algorithm, layout):
    """What a checkpoint is restored into: shapes, types and where every part goes.

    Args:
      algorithm: the `Algorithm`.
      layout: the `Layout`.

    Returns:
      A `TrainState` of `jax.ShapeDtypeStruct`s, with a leading axis if there are several runs.
    """
    shapes, leading = state_shapes(algorithm), (layout.num_seeds,) if layout.num_seeds > 1 else ()
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leading + leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.state(shapes),
    )


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
