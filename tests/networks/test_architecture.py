"""The three networks at every resolution, in every mode: shapes and sizes."""

import jax
import jax.numpy as jnp
import pytest

from configs import cifar10, mnist
from mpcc_jax.config import resolve_conventions
from mpcc_jax.model import build_model, discriminate, encode, generate, init
from mpcc_jax.networks.architecture import ARCHITECTURES
from tests.networks.references import make_model


@pytest.mark.parametrize("resolution", ARCHITECTURES)
def test_shapes(resolution):
    model = make_model(resolution=resolution, latent_dim=60, image_channels=3)

    def everything(key):
        params, buffers = init(model, key)
        z, y = jnp.zeros((5, 60)), jnp.zeros(5, jnp.int32)
        images, buffers = generate(model, params, buffers, z, y, train=True)
        logits, buffers = discriminate(model, params, buffers, images, y, train=True)
        return images, logits, encode(model, params, buffers, images, train=True)[0]

    images, logits, (mean, log_var) = jax.eval_shape(everything, jax.random.key(0))
    assert images.shape == (5, resolution, resolution, 3)
    assert logits.shape == (5,)
    assert mean.shape == log_var.shape == (5, 60)


@pytest.mark.parametrize("resolution", ARCHITECTURES)
def test_the_table_of_channels_adds_up(resolution):
    plan = ARCHITECTURES[resolution]
    assert 4 * 2 ** sum(stage.resample for stage in plan.generator) == resolution
    features = resolution // 2 ** sum(stage.resample for stage in (*plan.trunk, *plan.encoder))
    assert features == 2
    assert len(plan.trunk) == 3


def published_parameters(channels, image_channels, latent_dim, split):
    """Parameters of the paper's tables 5 to 7 at 32x32, counted by hand: generator, discriminator, encoder's own."""
    f = 4 * channels

    def conv(inputs, outputs, size=3):
        return size * size * inputs * outputs + outputs

    condition = latent_dim + latent_dim // 4 if split else 10
    block = 2 * conv(f, f) + conv(f, f, 1) + 4 * condition * f
    first = (latent_dim // 4 if split else latent_dim) * 16 * f + 16 * f
    generator = first + 3 * block + 2 * f + conv(f, image_channels) + (10 * latent_dim if split else 0)
    down = 2 * conv(f, f) + conv(f, f, 1)
    trunk = conv(image_channels, f) + conv(f, f) + conv(image_channels, f, 1) + down + 2 * conv(f, f)
    heads = 2 * (4 * f * 2 * f + 2 * f + 2 * f * latent_dim + latent_dim)
    return generator, trunk + 2 * conv(f, f) + f + 1, 2 * conv(f, f) + 2 * down + heads


@pytest.mark.parametrize(("experiment", "image_channels"), [(mnist, 1), (cifar10, 3)])
def test_published_sizes(experiment, image_channels):
    config = experiment.get_config()
    model = build_model(config, image_channels, resolve_conventions(config))
    params = jax.eval_shape(lambda key: init(model, key)[0], jax.random.key(0))

    def count(*parts):
        return sum(leaf.size for part in parts for leaf in jax.tree.leaves(params[part]))

    settings = config.model
    expected = published_parameters(
        settings.channels, image_channels, settings.latent_dim, settings.conditioning == "split"
    )
    assert (count("generator"), count("trunk", "discriminator"), count("encoder")) == expected
