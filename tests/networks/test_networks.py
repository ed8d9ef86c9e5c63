"""The three networks at every resolution, in every mode: shapes, wiring, sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import cifar10, mnist
from mpcc_jax.config import CONDITIONINGS, resolve_conventions
from mpcc_jax.model import build_model, discriminate, encode, generate, init
from mpcc_jax.networks.architecture import ARCHITECTURES
from tests.conftest import random_variables, tiny_config


def make(resolution=8, image_channels=1, conditioning="conditional", **training):
    config = tiny_config()
    config.data.resolution = resolution
    config.model.latent_dim = 60  # divisible by the chunks of every resolution
    config.model.conditioning = conditioning
    config.training.update(training)
    return build_model(config, image_channels, resolve_conventions(config))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize(("resolution", "image_channels"), [(8, 1), (16, 3), (32, 3), (64, 3), (128, 3)])
def test_shapes(resolution, image_channels, conditioning):
    model = make(resolution, image_channels, conditioning)

    def everything(key):
        params, buffers = init(model, key)
        z, y = jnp.zeros((5, 60)), jnp.zeros(5, jnp.int32)
        images, buffers = generate(model, params, buffers, z, y, train=True)
        logits, buffers = discriminate(model, params, buffers, images, y, train=True)
        return images, logits, encode(model, params, buffers, images, train=True)[0]

    images, logits, (mean, log_var) = jax.eval_shape(everything, jax.random.key(0))
    assert images.shape == (5, resolution, resolution, image_channels)
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


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
def test_images_depend_on_every_latent_and_on_the_component(conditioning):
    model = make(conditioning=conditioning)
    params, buffers = random_variables(model)
    y = jnp.asarray([0, 1])

    def images(z, y):
        return generate(model, params, buffers, z, y, train=False)[0]

    z = jnp.broadcast_to(jax.random.normal(jax.random.key(1), (1, 60)), (2, 60))
    slopes = jax.grad(lambda z: jnp.sum(images(z, y) ** 2))(z)
    assert np.all(np.abs(slopes).max(0) > 0)
    assert not np.allclose(images(z, y)[0], images(z, y)[1])
    assert np.abs(images(z, y)).max() <= 1.0


def test_projection_reads_labels_and_the_plain_discriminator_does_not():
    for conditional in (False, True):
        model = make(conditional=conditional)
        params, buffers = random_variables(model)
        images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
        first, second = (discriminate(model, params, buffers, images, jnp.full(2, y), train=False)[0] for y in (0, 1))
        assert np.allclose(first, second) != conditional


def test_encoder_without_sharing_owns_a_trunk():
    config = tiny_config()
    config.model.share_blocks = False
    model = build_model(config, 1, resolve_conventions(config))
    params, buffers = random_variables(model)
    assert model.encoder_parts == ("encoder_trunk", "encoder")
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def mean(trunk):
        return encode(
            model, {**params, trunk: jax.tree.map(jnp.zeros_like, params[trunk])}, buffers, images, train=False
        )

    (unchanged, _), _ = encode(model, params, buffers, images, train=False)
    np.testing.assert_array_equal(mean("trunk")[0][0], unchanged)
    assert not np.allclose(mean("encoder_trunk")[0][0], unchanged)
