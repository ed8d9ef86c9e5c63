"""Training as it is lowered for GPUs and TPUs, without either: no branch for CPUs is left, its state is reused."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import export

from benchmarks.ours import image_channels_of, read_config
from mpcc_jax.data.loader import Examples
from mpcc_jax.training.state import build_algorithm, state_shapes
from mpcc_jax.training.steps import train_iterations


@functools.cache
def lower(name, platform, *off):
    """The StableHLO of two tiny iterations, and the number of arrays in their state; `off` are switches."""
    config = read_config(name, tiny=True)
    config.speed.update(dict.fromkeys(off, False))
    algorithm, training = build_algorithm(config, image_channels_of(config)), config.training
    shape = (2, training.discriminator_steps, training.batch_size, *algorithm.model.image_shape)
    images, key = jax.ShapeDtypeStruct(shape, jnp.uint8), jax.eval_shape(jax.random.key, 0)
    program = jax.jit(functools.partial(train_iterations, algorithm), donate_argnums=0)
    exported = export.export(program, platforms=(platform,))(state_shapes(algorithm), Examples(images, None), key)
    return exported.mlir_module(), len(jax.tree.leaves(state_shapes(algorithm)))


def operations(text):
    return [line.split(" loc(")[0].strip() for line in text.splitlines() if not line.startswith("#loc")]


# Of each way to condition the generator one of the published configurations.
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10"])
def test_the_state_is_reused_and_nothing_is_a_custom_call(name):
    text, leaves = lower(name, "cuda")
    assert text.count("jax.buffer_donor") + text.count("tf.aliasing_output") == leaves
    assert not any("custom_call" in line for line in operations(text))


def test_no_branch_for_cpus_is_left():
    cuda, cpu = lower("mnist", "cuda")[0], lower("mnist", "cpu")[0]
    assert cuda.count("stablehlo.convolution") > 20 * cpu.count("stablehlo.convolution")
    assert operations(cuda) == operations(lower("mnist", "cuda", "winograd")[0])
    assert operations(cuda) == operations(lower("mnist", "rocm")[0])


def test_tpus_upsample_without_interleaving():
    tpu, cuda = (operations(lower("mnist", platform)[0]) for platform in ("tpu", "cuda"))
    assert sum("dot_general" in line for line in tpu) > sum("dot_general" in line for line in cuda)
    assert len(tpu) < len(cuda)


# `subpixel` is not used at 8x8.
@pytest.mark.parametrize("switch", ["shortcut_first", "pool_first"])
def test_a_rewrite_adds_hardly_any_operations(switch):
    on, off = (operations(lower("mnist", "cuda", *switches)[0]) for switches in ((), (switch,)))
    assert on != off
    assert len(on) < 1.02 * len(off)
