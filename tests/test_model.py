"""Models: what makes two of them equal, whose parts are whose, and several passes of the generator as one batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.model import encode, generate, generate_passes
from tests.conftest import random_variables
from tests.networks.references import make_model

PASSES = 3


def test_equal_configurations_make_equal_models():
    """So that programs which are cached by their model compile once."""
    model, twin, other = (make_model(power_iterations=count) for count in (1, 1, 2))
    assert model == twin
    assert hash(model) == hash(twin)
    assert model != other


def test_encoder_without_sharing_owns_a_trunk():
    model = make_model(share_blocks=False)
    params, buffers = random_variables(model)
    assert model.encoder_parts == ("encoder_trunk", "encoder")
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def mean_without(part):
        zeros = jax.tree.map(jnp.zeros_like, params.get(part, {}))
        return encode(model, {**params, part: zeros}, buffers, images, train=False)[0][0]

    unchanged = mean_without("none")
    np.testing.assert_array_equal(mean_without("trunk"), unchanged)
    assert not np.allclose(mean_without("encoder_trunk"), unchanged)


def make_passes(conditioning, power_iterations=1, variant="paper"):
    return make_model(
        resolution=16,
        image_channels=3,
        variant=variant,
        conditioning=conditioning,
        latent_dim=12,
        power_iterations=power_iterations,
    )


@pytest.mark.parametrize(
    ("conditioning", "power_iterations", "variant"), [("conditional", 1, "paper"), ("split", 2, "released")]
)
def test_passes_of_the_generator_as_one_batch(conditioning, power_iterations, variant):
    with jax.enable_x64(True):
        model = make_passes(conditioning, power_iterations, variant)
        params, buffers = random_variables(model, np.float64)
        rng = np.random.default_rng(0)
        z, y = rng.normal(size=(PASSES, 4, 12)), rng.integers(0, 3, (PASSES, 4))
        single = jax.jit(functools.partial(generate, model, train=True))
        images, advanced = [], buffers
        for latents, components in zip(z, y, strict=True):
            fakes, advanced = single(params, advanced, latents, components)
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
    model = make_passes("conditional")
    params, buffers = random_variables(model, np.float32)
    z, y = np.zeros((PASSES, 4, 12), np.float32), np.zeros((PASSES, 4), np.int32)

    def convolutions(function, *inputs):
        text = jax.jit(functools.partial(function, model)).trace(params, buffers, *inputs).lower().as_text()
        return text.count("stablehlo.convolution")

    alone = convolutions(functools.partial(generate, train=True), z[0], y[0])
    assert convolutions(generate_passes, z, y) == alone > 0
