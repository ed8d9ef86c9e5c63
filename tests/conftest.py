"""What all tests share: checked types, four fake CPU devices, a compilation cache, strict ranks, tiny networks."""
# ruff: noqa: E402

import functools
import gc
import os
import pathlib

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

# Types and shapes in the signatures of these are checked; before anything of them is imported.
HOOKED = (
    "mpcc_jax.losses",
    "mpcc_jax.prior",
    "mpcc_jax.model",
    "mpcc_jax.training.steps",
    "mpcc_jax.evaluation",
    "mpcc_jax.trained_model",
)
jaxtyping.install_import_hook(HOOKED, "beartype.beartype")

from mpcc_jax.compilation import leave_loops_rolled
from mpcc_jax.config import default_config
from mpcc_jax.data.loader import Batch
from mpcc_jax.model import init
from mpcc_jax.prior import Latents
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import Noise

ROOT = pathlib.Path(__file__).parents[1]

# Tracing makes millions of objects: looking for cycles among them took a tenth of all processor time.
gc.set_threshold(1_000_000, 20, 20)
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
# Tests compile much and run little: LLVM's expensive passes off, XLA's own rewrites stay on. Kernels by way of MLIR
# take half of the compiling that is left, and on a busy machine devices may wait long for each other. A newer jaxlib
# may not know the flags, and would end the process.
jax.config.update("jax_disable_most_optimizations", True)
if jax.__version_info__ < (0, 11):
    FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_cpu_collective_call_terminate_timeout_seconds=600"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
leave_loops_rolled()  # as the command line does
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


# Files of a minute and more; begun first, so that no process is left alone with one of them at the end.
LONG_FILES = (
    *("test_distributed.py", "test_resume.py", "test_train.py", "test_trajectory.py", "test_sharding.py"),
    *("test_steps.py", "test_estimator.py", "test_convert.py", "test_page.py", "test_rewrites.py", "test_commands.py"),
)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG_FILES)


SMALL_IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)


def tiny_config():
    """8x8 images, 4 feature maps, K = 3, J = 8, batches of 8, 2 D and 2 E steps."""
    config = default_config()
    config.data.resolution = 8
    config.model.update({"channels": 1, "latent_dim": 8, "num_clusters": 3})
    config.training.update({"batch_size": 8, "discriminator_steps": 2, "encoder_steps": 2, "iterations": 4})
    config.training.iterations_per_call = 2
    config.logging.every = 2
    config.mesh.devices = 1
    config.ema.start = 2
    return config


@pytest.fixture
def config():
    return tiny_config()


def layout_of(devices=1, num_seeds=1, batch_size=8, **fields):
    """The first so many of the fake devices."""
    config = tiny_config()
    config.num_seeds = num_seeds
    config.training.batch_size = batch_size
    config.mesh.update({"devices": devices, **fields})
    return make_layout(config)


@functools.cache
def tiny_algorithm():
    return build_algorithm(tiny_config(), 1)


@pytest.fixture(scope="session")
def algorithm():
    return tiny_algorithm()


def random_variables(model, dtype=np.float32):
    """params and buffers of the right shapes, filled by NumPy: init itself takes seconds to compile."""
    rng = np.random.default_rng(0)

    def fill(path, leaf):
        if path[-1].key in ("var", "sigma", "gain") and leaf.ndim < 2:
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), dtype)
        return jnp.asarray(0.3 * rng.normal(size=leaf.shape), dtype)

    return jax.tree_util.tree_map_with_path(fill, jax.eval_shape(lambda: init(model, jax.random.key(0))))


@pytest.fixture
def state(algorithm):
    return assemble_state(algorithm, *random_variables(algorithm.model))


def draw_inputs(algorithm, iteration=0, dtype=np.float32):
    """Real images from a fixed generator, and the noise of an iteration, both made by NumPy."""
    rng = np.random.default_rng(100 + iteration)
    steps, batch, components = algorithm.discriminator_steps, algorithm.batch_size, algorithm.model.prior.num_components

    def labels(*shape):
        return jnp.asarray(rng.integers(0, components, shape), jnp.int32)

    def latents(*shape):
        eps = rng.normal(size=(*shape, algorithm.model.prior.latent_dim))
        return Latents(labels(*shape), jnp.asarray(eps, dtype))

    images = jnp.asarray(rng.uniform(-1.0, 1.0, (steps, batch, *algorithm.model.image_shape)), dtype)
    noise = Noise(latents(steps, batch), latents(batch), latents(algorithm.encoder_steps, batch))
    return Batch(images, labels(steps, batch)), noise


def assert_trees_close(actual, expected, **tolerances):
    """Same structure, close leaves; a failure names the leaf."""
    paths, structure = jax.tree_util.tree_flatten_with_path(expected)
    assert jax.tree.structure(actual) == structure
    for (path, value), other in zip(paths, jax.tree.leaves(actual), strict=True):
        np.testing.assert_allclose(other, value, err_msg=jax.tree_util.keystr(path), **tolerances)
