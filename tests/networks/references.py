"""Tiny models, XLA's own convolution, and the comparison of two functions with their gradients in float64."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mpcc_jax.config import resolve_conventions
from mpcc_jax.model import build_model
from tests.conftest import tiny_config


def make_model(
    *, resolution=8, image_channels=1, variant="paper", conditional=False, precision="float32", speed=None, **settings
):
    config = tiny_config()
    config.variant = variant
    config.data.resolution = resolution
    config.training.update({"conditional": conditional, "precision": precision})
    config.model.update(settings)
    config.speed.update(speed or {})
    return build_model(config, image_channels, resolve_conventions(config))


def arrays(*shapes):
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def reference_conv(x, kernel, padding="SAME"):
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def assert_same_function(actual, expected, *inputs):
    """Equal values, and equal products of the Jacobians with a random cotangent."""
    value, pullback = jax.vjp(jax.jit(actual), *inputs)
    reference, reference_pullback = jax.vjp(expected, *inputs)
    np.testing.assert_allclose(value, reference, rtol=1e-10, atol=1e-10)
    (cotangent,) = arrays(reference.shape)
    for gradient, other in zip(pullback(cotangent), reference_pullback(cotangent), strict=True):
        np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-10)
