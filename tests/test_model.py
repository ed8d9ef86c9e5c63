"""Several passes of the generator as one batch are the same passes one after the other."""

import functools

import jax
import numpy as np
import pytest

from mpcc_jax.model import generate, generate_passes
from mpcc_jax.training.state import build_algorithm
from tests.conftest import random_variables, tiny_config

PASSES = 3


def build(conditioning, power_iterations=1, variant="paper"):
    config = tiny_config()
    config.variant = variant
    config.data.resolution = 16
    config.model.update({"conditioning": conditioning, "latent_dim": 12, "power_iterations": power_iterations})
    return build_algorithm(config, 3).model


@pytest.mark.parametrize(
    ("conditioning", "power_iterations", "variant"),
    [("conditional", 1, "paper"), ("split", 2, "released"), ("shared", 1, "paper")],
)
def test_passes_of_the_generator_as_one_batch(conditioning, power_iterations, variant):
    with jax.enable_x64(True):
        model = build(conditioning, power_iterations, variant)
        params, buffers = random_variables(model, np.float64)
        rng = np.random.default_rng(0)
        z, y = rng.normal(size=(PASSES, 4, 12)), rng.integers(0, 3, (PASSES, 4))
        one = jax.jit(functools.partial(generate, model, train=True))
        images, advanced = [], buffers
        for latents, components in zip(z, y, strict=True):
            fakes, advanced = one(params, advanced, latents, components)
            images.append(fakes)
        batched = jax.jit(functools.partial(generate_passes, model))(params, buffers, z, y)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12), batched, (np.stack(images), advanced)
        )
        moved = jax.tree.map(
            lambda after, before: np.abs(after - before).max(), advanced["generator"], buffers["generator"]
        )
        assert min(jax.tree.leaves(moved)) > 1e-6


def test_the_passes_share_their_convolutions():
    model = build("conditional")
    params, buffers = random_variables(model, np.float32)
    z, y = np.zeros((PASSES, 4, 12), np.float32), np.zeros((PASSES, 4), np.int32)

    def convolutions(function, *inputs):
        text = jax.jit(functools.partial(function, model)).trace(params, buffers, *inputs).lower().as_text()
        return text.count("stablehlo.convolution")

    alone = convolutions(functools.partial(generate, train=True), z[0], y[0])
    assert convolutions(generate_passes, z, y) == alone > 0
