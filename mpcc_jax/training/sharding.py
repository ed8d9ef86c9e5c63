"""Which device holds what: one mesh of all devices, batches split over it, the state on every device."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from mpcc_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Layout:
    """The devices of a run, a mesh with axes "seed" and "batch", and which part of which array each of them holds.

    Attributes:
      shard_optimizer: whether optimizer states and moving averages are divided over "batch", not copied.
      advice: how the devices that stay idle could be used; "" if all are.
    """

    mesh: Mesh
    num_seeds: int = 1
    shard_optimizer: bool = False
    advice: str = ""

    @property
    def seed_axes(self) -> tuple[str, ...]:
        """The leading axes of a spec: none for a single run."""
        return ("seed",) if self.num_seeds > 1 else ()

    @property
    def in_turns(self) -> bool:
        """Whether a device trains its runs one after the other: TPUs do, the others train them at once.

        For all at once the TPU compiler estimates 1.14 times as long, and takes 1.7 times as long itself (8 seeds of
        mnist on a v5e chip).
        """
        return self.mesh.devices.flat[0].platform == "tpu"

    @property
    def replicated(self) -> NamedSharding:
        """Everything on every device."""
        return self._sharding()

    @property
    def examples(self) -> NamedSharding:
        """Of `Examples`, [(seeds,) iterations, D_steps, B, ...]."""
        return self._sharding(*self.seed_axes, None, None, "batch")

    @property
    def by_seed(self) -> NamedSharding:
        """Of what has one entry per run, if there are several."""
        return self._sharding(*self.seed_axes)

    def _sharding(self, *axes: str | None) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _divided(self, leaf: Any) -> PartitionSpec:
        """The longest axis of a leaf that the devices divide evenly goes over "batch"."""
        count = self.mesh.shape["batch"]
        sizes = [size if size % count == 0 else 0 for size in leaf.shape]
        if not any(sizes):
            return PartitionSpec()
        axis = int(np.argmax(sizes))
        return PartitionSpec(*[None] * axis, "batch")

    def _state_specs(self, state: chex.ArrayTree) -> chex.ArrayTree:
        specs = jax.tree.map(lambda _: PartitionSpec(), state)
        if self.shard_optimizer:
            divided = jax.tree.map(self._divided, {"optimizers": state.optimizers, "ema": state.ema})
            specs = specs.replace(**divided)
        return specs

    def state(self, state: chex.ArrayTree) -> chex.ArrayTree:
        """Returns the shardings of a state of one run; with several runs, of the state that has their leading axis."""
        return jax.tree.map(lambda spec: self._sharding(*self.seed_axes, *spec), self._state_specs(state))

    def pin(self, state: chex.ArrayTree) -> chex.ArrayTree:
        """Keeps the state of one run where it belongs, inside a compiled program."""
        return jax.tree.map(lambda x, spec: self.constrain(x, *spec), state, self._state_specs(state))

    def over_seeds(self, program: Callable) -> Callable:
        """Makes a program of one run a program of all runs."""
        if self.num_seeds == 1:
            return program
        if not self.in_turns:
            return jax.vmap(program, spmd_axis_name="seed")
        turns = functools.partial(jax.shard_map, mesh=self.mesh, axis_names={"seed"}, check_vma=False)
        spec = PartitionSpec("seed")
        return turns(lambda *given: lax.map(lambda one: program(*one), given), in_specs=spec, out_specs=spec)

    def constrain(self, array: jax.Array, *axes: str | None) -> jax.Array:
        """Divides each axis of an array over a mesh axis (or None), inside a compiled program of one run."""
        return lax.with_sharding_constraint(array, self._sharding(*axes))

    def place(self, array: np.ndarray, sharding: NamedSharding) -> jax.Array:
        """Puts an array that all hosts have on the devices of this host that are to hold a part of it."""
        return jax.make_array_from_callback(array.shape, sharding, lambda index: np.asarray(array[index]))

    def place_tree(self, tree: chex.ArrayTree) -> chex.ArrayTree:
        """Copies everything to every device."""
        return jax.tree.map(lambda leaf: self.place(np.asarray(leaf), self.replicated), tree)

    def replicate_keys(self, *keys: jax.Array) -> jax.Array:
        """Returns PRNG keys, one per run, as programs on the mesh take them."""
        data = np.stack([np.asarray(jax.random.key_data(key)) for key in keys])
        data = data if self.num_seeds > 1 else data[0]
        return jax.jit(jax.random.wrap_key_data, out_shardings=self.by_seed)(data)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def make_layout(config: ConfigDict, devices: list[Any] | None = None) -> Layout:
    """Makes the mesh that a configuration asks for, of all devices of all hosts by default.

    Seeds go over a divisor of their number, batches over a divisor of theirs: the pair that uses most devices.
    """
    available = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    count, num_processes = config.mesh.devices or len(available), jax.process_count()
    if count > len(available) or (count < len(available) and num_processes > 1):
        allowed = f"1 to {len(available)}, the devices of this machine, or 0 for all of them"
        if num_processes > 1:
            allowed = f"0 with several processes, which is all {len(available)} devices"
        raise ConfigError(f"config.mesh.devices is {count}; allowed: {allowed}.")
    batch_size = config.training.batch_size
    pairs = itertools.product(_divisors(config.num_seeds), _divisors(batch_size))
    pairs = [pair for pair in pairs if math.prod(pair) <= count]
    over_seeds, over_batch = max(pairs, key=lambda pair: (math.prod(pair), pair))
    used, advice = over_seeds * over_batch, ""
    if used < count:
        step = count // over_seeds
        sizes = sorted({max(step, batch_size // step * step), -(-batch_size // step) * step})
        advice = f"config.training.batch_size {' or '.join(map(str, sizes))}, or config.num_seeds {count}"
        if num_processes > 1:
            raise ConfigError(
                f"config.training.batch_size is {batch_size}, which {count} devices of {num_processes} processes "
                f"cannot share. Set {advice}; or start processes with {used} devices in all."
            )
    devices = np.asarray(available[:used]).reshape(over_seeds, over_batch)
    mesh = Mesh(devices, ("seed", "batch"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    return Layout(mesh, config.num_seeds, config.mesh.shard_optimizer, advice)


@functools.cache
def _gather(sharding: NamedSharding) -> Callable:
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def on_one_device(tree: chex.ArrayTree, layout: Layout) -> chex.ArrayTree:
    """Copies a tree to the first device of this host, for one process alone; all hosts must call it."""
    if layout.mesh.size == 1:
        return tree
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), _gather(layout.replicated)(tree))


def select_seed(tree: chex.ArrayTree, index: int) -> chex.ArrayTree:
    """Returns one run of a tree with a leading axis of runs."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
