"""Convolutions, pooling and upsampling against XLA's own operators, forward and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcc_jax.networks.convolution import (
    _gradients_by_xla,
    _gradients_on_cpu,
    average_pool,
    conv2d,
    conv2d_average_pool,
    nearest_upsample_conv2d,
    upsample,
)


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


@pytest.mark.parametrize(
    ("size", "padding"),
    [((1, 1), None), ((3, 3), None), ((5, 3), None), ((2, 2), ((0, 0), (0, 0))), ((3, 2), ((1, 0), (2, 1)))],
)
def test_conv2d(size, padding):
    with jax.enable_x64(True):
        x, kernel = arrays((2, 6, 4, 3), (*size, 3, 5))
        assert_same_function(
            lambda x, k: conv2d(x, k, padding), lambda x, k: reference_conv(x, k, padding or "SAME"), x, kernel
        )


def test_conv2d_inside_a_scan_and_under_vmap():
    with jax.enable_x64(True):
        x, kernels = arrays((2, 4, 4, 3), (3, 3, 3, 3, 3))

        def chain(convolve):
            return lambda x, kernels: lax.scan(lambda x, k: (jnp.tanh(convolve(x, k)), None), x, kernels)[0]

        assert_same_function(chain(conv2d), chain(reference_conv), x, kernels)

        def mapped(convolve):
            return lambda x, kernels: jax.vmap(convolve, in_axes=(None, 0))(x, kernels)

        assert_same_function(mapped(conv2d), mapped(reference_conv), x, kernels)


def test_the_gradients_of_all_platforms_agree():
    """Tests run on CPU, so the branch of GPU and TPU is called by hand."""
    with jax.enable_x64(True):
        padding = ((1, 1), (0, 1))
        x, kernel, cotangent = arrays((2, 6, 4, 3), (3, 2, 3, 5), (2, 6, 4, 5))
        by_matmul = _gradients_on_cpu(x, kernel, cotangent, padding=padding)
        by_xla = _gradients_by_xla(x, kernel, cotangent, padding=padding)
        for gradient, other in zip(by_matmul, by_xla, strict=True):
            np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("platform", "is_matmul"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_every_platform_gets_its_own_kernel_gradient(platform, is_matmul):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    gradient = jax.jit(jax.grad(lambda k: conv2d(x, k).sum()))
    text = gradient.trace(kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("dot_general" in text) == is_matmul


def test_conv2d_average_pool():
    with jax.enable_x64(True):
        x, kernel = arrays((2, 6, 4, 3), (3, 3, 3, 5))
        assert_same_function(conv2d_average_pool, lambda x, k: average_pool(reference_conv(x, k)), x, kernel)


def test_nearest_upsample_conv2d():
    with jax.enable_x64(True):
        x, kernel = arrays((2, 3, 4, 3), (3, 3, 3, 5))
        assert_same_function(nearest_upsample_conv2d, lambda x, k: reference_conv(upsample(x, "nearest"), k), x, kernel)


def test_average_pool():
    with jax.enable_x64(True):
        (x,) = arrays((2, 6, 4, 3))
        window = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4  # noqa: E731
        assert_same_function(average_pool, window, x)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_upsample(method):
    with jax.enable_x64(True):
        (x,) = arrays((2, 3, 4, 5))
        assert_same_function(lambda x: upsample(x, method), lambda x: jax.image.resize(x, (2, 6, 8, 5), method), x)


@pytest.mark.parametrize("method", ["bilinear", "nearest"])
def test_a_1x1_convolution_commutes_with_resampling(method):
    """What the residual blocks' shortcuts rest on."""
    with jax.enable_x64(True):
        x, kernel = arrays((2, 4, 4, 3), (1, 1, 3, 5))
        assert_same_function(
            lambda x, k: upsample(conv2d(x, k), method), lambda x, k: conv2d(upsample(x, method), k), x, kernel
        )
        assert_same_function(
            lambda x, k: conv2d(average_pool(x), k), lambda x, k: average_pool(conv2d(x, k)), x, kernel
        )
