"""How z and y reach the blocks of the generator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.config import CONDITIONINGS
from mpcc_jax.model import generate, init
from tests.conftest import random_variables
from tests.networks.references import make_model


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_images_depend_on_every_latent_and_on_the_component(conditioning):
    model = make_model(conditioning=conditioning, latent_dim=7)
    params, buffers = random_variables(model)
    y = jnp.asarray([0, 1])

    @jax.jit
    def images(z):
        return generate(model, params, buffers, z, y, train=False)[0]

    z = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (1, 7)), (2, 7))
    slopes = jax.grad(lambda z: jnp.sum(images(z) ** 2))(z)
    assert np.all(np.abs(slopes).max(0) > 0)
    assert not np.allclose(*images(z))
    assert np.abs(images(z)).max() <= 1.0


@pytest.mark.parametrize(
    ("resolution", "latent_dim", "chunks"), [(64, 128, [26, 26, 26, 25, 25]), (32, 128, [32, 32, 32, 32])]
)
def test_split_cuts_latents_into_chunks_that_differ_by_one_at_most(resolution, latent_dim, chunks):
    model = make_model(resolution=resolution, image_channels=3, conditioning="split", latent_dim=latent_dim)

    def decode(key):
        params, buffers = init(model, key)
        z, y = jnp.zeros((2, latent_dim)), jnp.zeros(2, jnp.int32)
        return generate(model, params, buffers, z, y, train=True)[0], params["generator"]

    images, params = jax.eval_shape(decode, jax.random.key(0))
    assert images.shape == (2, resolution, resolution, 3)
    conditions = [params[f"block{i}"]["norm1"]["gain"]["kernel"].shape[0] for i in range(len(chunks) - 1)]
    assert [params["linear"]["kernel"].shape[0], *(size - latent_dim for size in conditions)] == chunks
