"""Convolutions against XLA's own operators, forward and gradients, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcc_jax.networks.convolution import _gradients_by_xla, _gradients_on_cpu, conv2d
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
