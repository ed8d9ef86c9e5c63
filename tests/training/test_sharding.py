"""One, two and four devices, the optimizer divided or not, several seeds at once: the same training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.errors import ConfigError
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.sharding import Layout, make_layout, on_one_device, select_seed
from mpcc_jax.training.state import abstract_state, assemble_state, build_algorithm
from mpcc_jax.training.steps import compile_train_iterations
from tests.conftest import SMALL_IMAGES, assert_trees_close, layout_of, random_variables, tiny_algorithm, tiny_config

PROGRAMS = {}


@functools.cache
def train_in_double(layout, seeds=(0,)):
    """Two iterations in float64, so that rounding cannot grow into the +-lr steps of Adam with beta1 = 0."""
    config = tiny_config()
    config.augmentation.update({"probability": 0.5, "rotation": 10.0})
    algorithm = build_algorithm(config, 1)
    with jax.enable_x64(True):
        state = assemble_state(algorithm, *random_variables(algorithm.model, np.float64))
        shardings = layout.state(state)
        if layout.num_seeds > 1:
            state = jax.tree.map(lambda leaf: jnp.stack([leaf] * layout.num_seeds), state)
        state = jax.tree.map(lambda leaf, sharding: layout.place(np.asarray(leaf), sharding), state, shardings)
        loader = DeviceLoader(SMALL_IMAGES, None, [jax.random.key(seed) for seed in seeds], 2, 8, layout)
        (examples,) = loader.calls(0, 2, 2)
        inputs = (state, examples, layout.replicate_keys(*(jax.random.key(10 + seed) for seed in seeds)))
        if layout not in PROGRAMS:
            PROGRAMS[layout] = compile_train_iterations(algorithm, layout).lower(*inputs).compile()
        state, metrics = PROGRAMS[layout](*inputs)
        return state, jax.tree.map(np.asarray, metrics), PROGRAMS[layout].cost_analysis()["flops"]


def assert_same_run(actual, expected):
    with jax.enable_x64(True):
        assert_trees_close(actual[0], expected[0], rtol=1e-7, atol=1e-9)
        assert_trees_close(actual[1], expected[1], rtol=1e-7, atol=1e-9)


def test_devices_share_the_work_of_one_and_the_optimizer():
    whole, shared = train_in_double(layout_of()), train_in_double(layout_of(4, shard_optimizer=True))
    assert_same_run(shared, whole)
    assert shared[2] < 1.25 / 4 * whole[2]  # every device computes all spectral norms
    state = shared[0]
    specs = {leaf.sharding.spec for leaf in jax.tree.leaves((state.params, state.buffers))}
    assert specs == {PartitionSpec()}
    leaves = jax.tree.leaves((state.optimizers, state.ema))
    assert sum(leaf.addressable_data(0).size for leaf in leaves) < 0.35 * sum(leaf.size for leaf in leaves)


class AsOnTpu(Layout):
    """A layout of CPUs whose seeds take turns."""

    in_turns = True


@pytest.mark.parametrize(("devices", "kind"), [(4, Layout), (1, AsOnTpu), (4, AsOnTpu)])
def test_several_seeds_are_the_runs_of_each(devices, kind):
    """Two seeds at once or in turn; on four devices, two for the batch of each. The optimizer is not divided."""
    layout = kind(layout_of(devices, 2).mesh, 2)
    together = train_in_double(layout, (0, 1))
    for seed in range(2):
        assert_same_run(select_seed(together[:2], seed), train_in_double(layout_of(), (seed,)))
    local = on_one_device(together[0], layout)
    assert {len(leaf.devices()) for leaf in jax.tree.leaves(local)} == {1}


def test_a_checkpoint_restores_on_other_devices(tmp_path):
    algorithm, (state, _, _) = tiny_algorithm(), train_in_double(layout_of(4, shard_optimizer=True))
    with jax.enable_x64(True):
        checkpoints = Checkpoints(tmp_path)
        checkpoints.save(state, 2, {})
        checkpoints._manager.wait_until_finished()
        abstract = abstract_state(algorithm, layout_of(2))
        abstract = jax.tree.map(
            lambda a, b: jax.ShapeDtypeStruct(a.shape, b.dtype, sharding=a.sharding), abstract, state
        )
        restored, _ = checkpoints.restore(abstract, pytest.fail)
        checkpoints.close()
        jax.tree.map(np.testing.assert_array_equal, restored, state)
        assert {len(leaf.devices()) for leaf in jax.tree.leaves(restored)} == {2}


@pytest.mark.parametrize(
    ("devices", "num_seeds", "batch_size", "seed_axis", "batch_axis"),
    [
        (1, 1, 8, 1, 1),
        (4, 1, 8, 1, 4),
        (4, 2, 8, 2, 2),
        (4, 8, 1, 4, 1),
        (4, 3, 8, 1, 4),
        (4, 1, 50, 1, 2),
        (4, 6, 5, 3, 1),
    ],
)
def test_divisors_of_seeds_and_batch_that_use_most_devices(devices, num_seeds, batch_size, seed_axis, batch_axis):
    layout = layout_of(devices, num_seeds, batch_size)
    assert dict(layout.mesh.shape) == {"seed": seed_axis, "batch": batch_axis}
    assert bool(layout.advice) == (seed_axis * batch_axis < devices)


def test_idle_devices_and_devices_that_are_not_there():
    assert "batch_size 48 or 52, or config.num_seeds 4" in layout_of(4, 1, 50).advice
    config = tiny_config()
    config.mesh.devices = 5
    with pytest.raises(ConfigError, match=r"config.mesh.devices is 5; allowed: 1 to 4, the devices of this machine"):
        make_layout(config)


def test_several_hosts_must_use_all_their_devices(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    config = tiny_config()
    config.mesh.devices, config.training.batch_size = 0, 50
    with pytest.raises(
        ConfigError, match=r"50, which 4 devices of 2 processes cannot share\. Set .*48 or 52.*2 devices"
    ):
        make_layout(config)
