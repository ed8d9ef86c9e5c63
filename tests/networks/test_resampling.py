"""Pooling, upsampling and the convolutions beside them against XLA's operators, forward and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcc_jax.networks.convolution import conv2d, gradients_of
from mpcc_jax.networks.resampling import (
    _pooled_kernel,
    _strided,
    _upsample_by_matmul,
    _wide_strided,
    average_pool,
    conv2d_average_pool,
    upsample,
    upsample_conv2d,
)
from tests.networks.references import arrays, assert_same_function, reference_conv

METHODS = ["bilinear", "nearest"]


def plain_pool(x, kernel):
    return average_pool(reference_conv(x, kernel))


def test_conv2d_average_pool():
    with jax.enable_x64(True):
        x, kernel = arrays((2, 6, 4, 3), (3, 3, 3, 5))
        assert_same_function(conv2d_average_pool, plain_pool, x, kernel)


def test_the_gradients_of_pooling_agree_on_all_platforms():
    """Tests run on CPU, so the forms of GPU and TPU are called by hand."""
    with jax.enable_x64(True):
        x, kernel, cotangent = arrays((2, 6, 4, 3), (3, 3, 3, 5), (2, 3, 2, 5))
        for form in (_strided, _wide_strided, _pooled_kernel):
            gradients = gradients_of(form)(x, kernel, cotangent)
            expected = gradients_of(plain_pool)(x, kernel, cotangent)
            for gradient, other in zip(gradients, expected, strict=True):
                np.testing.assert_allclose(gradient, other, rtol=1e-10, atol=1e-10)


def lowered(platform, function, *arguments):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize(("platform", "taps"), [("cpu", None), ("cuda", "3x3"), ("tpu", "4x4")])
def test_every_platform_gets_its_own_gradients_of_pooling(platform, taps):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    text = lowered(platform, jax.grad(lambda x: conv2d_average_pool(x, kernel).sum()), x)
    strided = [line for line in text.splitlines() if "lhs_dilate = [2, 2]" in line]
    assert [taps] * bool(taps) == ["4x4" if "tensor<4x4x" in line else "3x3" for line in strided]


@pytest.mark.parametrize("method", METHODS)
def test_tpus_upsample_by_a_product(method):
    """Before the convolution, whatever the others do."""
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    texts = {
        platform: lowered(platform, lambda x: upsample_conv2d(x, kernel, method), x) for platform in ("cuda", "tpu")
    }
    assert {platform: text.count("stablehlo.dot_general") for platform, text in texts.items()} == {"cuda": 0, "tpu": 1}
    assert texts["tpu"].count("stablehlo.convolution") == 1 < texts["cuda"].count("stablehlo.convolution")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(3, 4), (33, 32)])
def test_upsample_by_matmul(method, size):
    """By one matrix, and above `LARGEST_MATRIX` by two."""
    with jax.enable_x64(True):
        (x,) = arrays((2, *size, 3))
        assert_same_function(
            lambda x: _upsample_by_matmul(x, method),
            lambda x: jax.image.resize(x, (2, 2 * size[0], 2 * size[1], 3), method),
            x,
        )


def test_pooling_under_vmap():
    """As several seeds at once compute it."""
    with jax.enable_x64(True):
        x, kernels = arrays((3, 2, 6, 4, 3), (3, 3, 3, 3, 5))
        assert_same_function(jax.vmap(conv2d_average_pool), jax.vmap(plain_pool), x, kernels)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(3, 4), (1, 1)])
def test_upsample_conv2d(method, size):
    with jax.enable_x64(True):
        x, kernel = arrays((2, *size, 3), (3, 3, 3, 5))
        assert_same_function(
            lambda x, k: upsample_conv2d(x, k, method), lambda x, k: reference_conv(upsample(x, method), k), x, kernel
        )


@pytest.mark.parametrize("method", METHODS)
def test_upsampling_under_vmap(method):
    with jax.enable_x64(True):
        x, kernels = arrays((3, 2, 3, 2, 3), (3, 3, 3, 3, 5))
        assert_same_function(
            jax.vmap(lambda x, k: upsample_conv2d(x, k, method)),
            jax.vmap(lambda x, k: reference_conv(upsample(x, method), k)),
            x,
            kernels,
        )


def test_average_pool():
    with jax.enable_x64(True):
        (x,) = arrays((2, 6, 4, 3))
        window = lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID") / 4  # noqa: E731
        assert_same_function(average_pool, window, x)
        assert "reduce_window" in lowered("tpu", average_pool, x)


@pytest.mark.parametrize("method", METHODS)
def test_upsample(method):
    with jax.enable_x64(True):
        (x,) = arrays((2, 3, 4, 5))
        assert_same_function(lambda x: upsample(x, method), lambda x: jax.image.resize(x, (2, 6, 8, 5), method), x)


@pytest.mark.parametrize("method", METHODS)
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
