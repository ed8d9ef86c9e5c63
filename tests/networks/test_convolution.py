"""Convolutions against XLA's own operators, forward and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcc_jax.networks.convolution import THIN, conv2d, kernel_gradient
from tests.networks.references import arrays, assert_same_function, reference_conv


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


@pytest.mark.parametrize(("channels", "features"), [(THIN - 1, THIN), (THIN, THIN - 1), (THIN, THIN + 1)])
@pytest.mark.parametrize(
    ("size", "padding"), [((3, 3), ((1, 1), (1, 1))), ((2, 2), ((0, 0), (0, 0))), ((2, 3), ((1, 0), (0, 2)))]
)
def test_kernel_gradient(size, padding, channels, features):
    with jax.enable_x64(True):
        x, kernel = arrays((2, 5, 6, channels), (*size, channels, features))
        outputs, pullback = jax.vjp(lambda kernel: reference_conv(x, kernel, padding), kernel)
        (cotangent,) = arrays(outputs.shape)
        (expected,) = pullback(cotangent)
        by_matmul = kernel_gradient(x, kernel.shape, padding, cotangent)
        np.testing.assert_allclose(by_matmul, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("platform", "is_matmul"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_every_platform_gets_its_own_kernel_gradient(platform, is_matmul):
    x, kernel = jnp.ones((2, 8, 8, 3)), jnp.ones((3, 3, 3, 5))
    gradient = jax.jit(jax.grad(lambda k: conv2d(x, k).sum()))
    text = gradient.trace(kernel).lower(lowering_platforms=(platform,)).as_text()
    assert ("dot_general" in text) == is_matmul
