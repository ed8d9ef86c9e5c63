"""Where arrays live: one mesh of all devices, batches split over it, the state on every device.

The mesh has two axes. "batch" splits every batch; batch norm and gradients are still those of the whole batch, because
the program is written for the whole batch and XLA divides the work. "seed" splits the runs of `config.num_seeds`.
"""

import dataclasses
import math

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from mpcc_jax.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Layout:
    """The devices of a run, and which part of which array each of them holds.

    Attributes:
      mesh: of axes "seed" and "batch".
      num_seeds: runs trained at once; above 1, states and examples have a leading axis of them.
      shard_optimizer: whether optimizer states and moving averages are divided over "batch" (as ZeRO does).
    """

    mesh: Mesh
    num_seeds: int = 1
    shard_optimizer: bool = False

    @property
    def seed_axes(self):
        """The leading axes of a spec: none for a single run."""
        return ("seed",) if self.num_seeds > 1 else ()

    @property
    def replicated(self):
        """Everything on every device."""
        return self._sharding()

    @property
    def examples(self):
        """Of `Examples`, [(seeds,) iterations, D_steps, B, ...]."""
        return self._sharding(*self.seed_axes, None, None, "batch")

    @property
    def by_seed(self):
        """Of what has one entry per run, if there are several."""
        return self._sharding(*self.seed_axes)

    def _sharding(self, *axes):
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _divided(self, leaf):
        """The longest axis of a leaf that the devices divide evenly goes over "batch"."""
        count = self.mesh.shape["batch"]
        sizes = [size if size % count == 0 else 0 for size in leaf.shape]
        if not any(sizes):
            return PartitionSpec()
        axis = int(np.argmax(sizes))
        return PartitionSpec(*[None] * axis, "batch")

    def _state_specs(self, state):
        specs = jax.tree.map(lambda _: PartitionSpec(), state)
        if self.shard_optimizer:
            divided = jax.tree.map(self._divided, {"optimizers": state.optimizers, "ema": state.ema})
            specs = specs.replace(**divided)
        return specs

    def state(self, state):
        """Shardings of a state.

        Args:
          state: `TrainState` of one run, of arrays or shapes.

        Returns:
          `TrainState` of shardings; with several runs, for the state that has their leading axis.
        """
        return jax.tree.map(lambda spec: self._sharding(*self.seed_axes, *spec), self._state_specs(state))

    def pin(self, state):
        """Keeps a state where it belongs, inside a compiled program of one run.

        Args:
          state: `TrainState`.

        Returns:
          The same.
        """
        return jax.tree.map(lambda x, spec: self.constrain(x, *spec), state, self._state_specs(state))

    def constrain(self, array, *axes):
        """Divides an array over the devices, inside a compiled program of one run.

        Args:
          array: of one run.
          *axes: for each of its axes the mesh axis that divides it, or None.

        Returns:
          The same array.
        """
        return lax.with_sharding_constraint(array, self._sharding(*axes))

    def place(self, array, sharding):
        """Puts an array on the devices of this host that are to hold a part of it.

        Args:
          array: NumPy, the same on all hosts.
          sharding: of the result.

        Returns:
          `jax.Array`.
        """
        return jax.make_array_from_callback(array.shape, sharding, lambda index: np.asarray(array[index]))

    def place_tree(self, tree):
        """A copy of everything on every device.

        Args:
          tree: of arrays, the same on all hosts.

        Returns:
          The tree of `jax.Array`s.
        """
        return jax.tree.map(lambda leaf: self.place(np.asarray(leaf), self.replicated), tree)

    def replicate_keys(self, *keys):
        """PRNG keys as programs on the mesh take them.

        Args:
          *keys: typed keys of this host, one per run.

        Returns:
          The key, or [seeds] keys if there are several runs.
        """
        data = np.stack([np.asarray(jax.random.key_data(key)) for key in keys])
        data = data if self.num_seeds > 1 else data[0]
        return jax.jit(jax.random.wrap_key_data, out_shardings=self.by_seed)(data)


def make_layout(config, devices=None):
    """The mesh that a configuration asks for.

    Seeds are spread over devices as far as both numbers divide; what is left of the devices splits the batches.

    Args:
      config: the configuration.
      devices: to use; None is all of all hosts.

    Returns:
      A `Layout`.

    Raises:
      ConfigError: if there are fewer devices than asked for, or they cannot have equal parts of a batch.
    """
    everything = sorted(devices or jax.devices(), key=lambda device: (device.process_index, device.id))
    count = config.mesh.devices or len(everything)
    if count > len(everything) or (count < len(everything) and jax.process_count() > 1):
        raise ConfigError(
            f"config.mesh.devices is {count}; allowed: "
            + (f"1 to {len(everything)}, the devices of this machine" if jax.process_count() == 1 else "0 with several "
               f"processes, which is all {len(everything)} devices")
            + ", or 0 for all of them."
        )  # fmt: skip
    over_seeds = math.gcd(config.num_seeds, count)
    over_batch, batch_size = count // over_seeds, config.training.batch_size
    if batch_size % over_batch:
        nearest = over_batch * max(1, round(batch_size / over_batch))
        fewer = max(number for number in range(1, over_batch) if batch_size % number == 0) * over_seeds
        raise ConfigError(
            f"config.training.batch_size is {batch_size}; allowed: a multiple of {over_batch}, the number of devices "
            f"that a batch is split over. Set it to {nearest}, or use fewer devices: --config.mesh.devices={fewer}."
        )
    devices = np.asarray(everything[:count]).reshape(over_seeds, over_batch)
    mesh = Mesh(devices, ("seed", "batch"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    return Layout(mesh, config.num_seeds, config.mesh.shard_optimizer)


def on_one_device(tree, layout):
    """A copy on the first device of this host, for evaluation by one process alone.

    All hosts must call it, since parts may have to be gathered.

    Args:
      tree: of arrays on the mesh.
      layout: the `Layout`.

    Returns:
      The tree on one device.
    """
    if layout.mesh.size == 1:
        return tree
    gathered = jax.jit(lambda tree: tree, out_shardings=layout.replicated)(tree)
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), gathered)


def member(tree, index):
    """One run of several.

    Args:
      tree: of arrays with a leading axis of runs.
      index: of the run.

    Returns:
      The tree without that axis.
    """
    return jax.tree.map(lambda leaf: leaf[index], tree)
