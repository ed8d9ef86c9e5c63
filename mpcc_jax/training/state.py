"""Everything that training changes, and how a seed becomes the first of it."""

import functools
from typing import NamedTuple

import chex
import flax
import jax
import jax.numpy as jnp

from mpcc_jax.model import init
from mpcc_jax.training.algorithm import Algorithm
from mpcc_jax.training.sharding import Layout


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
def _first_state(algorithm):
    return lambda key: assemble_state(algorithm, *init(algorithm.model, key))


@functools.cache
def _shapes(algorithm, double):
    del double  # the types depend on it
    return jax.eval_shape(_first_state(algorithm), jax.random.key(0))


def state_shapes(algorithm: Algorithm) -> TrainState:
    """Returns the shapes and types of a state without making one."""
    return _shapes(algorithm, jax.config.jax_enable_x64)


@functools.lru_cache(maxsize=8)
def compile_first_state(algorithm: Algorithm, layout: Layout | None = None):
    """Returns the jitted function from `Keys.init` (of every seed) to the first state."""
    program, shardings = _first_state(algorithm), {}
    if layout is not None:
        program = jax.vmap(program) if layout.num_seeds > 1 else program
        shardings = {"in_shardings": layout.by_seed, "out_shardings": layout.state(state_shapes(algorithm))}
    # It runs once, so compiling it quickly (5 s against 12 s on 2 cores) beats running it quickly.
    return jax.jit(program, **shardings, compiler_options={"xla_backend_optimization_level": 0})


def init_state(algorithm: Algorithm, key: jax.Array, layout: Layout | None = None) -> TrainState:
    """Algorithm 1, lines 1 to 5. With several seeds `key` has an entry for each, and the state a leading axis."""
    return compile_first_state(algorithm, layout)(key)


def abstract_state(algorithm: Algorithm, layout: Layout) -> TrainState:
    """Returns the shapes, types and shardings that a checkpoint is restored into."""
    shapes, leading = state_shapes(algorithm), (layout.num_seeds,) if layout.num_seeds > 1 else ()
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leading + leaf.shape, leaf.dtype, sharding=sharding),
        shapes,
        layout.state(shapes),
    )
