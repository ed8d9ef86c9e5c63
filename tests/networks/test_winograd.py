"""Winograd's form against the plain convolution: in float64, under vmap, in float32, and where it is used."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.networks.convolution import conv2d
from mpcc_jax.networks.winograd import IMAGE, KERNEL, RESULT, fast_conv2d, winograd_conv2d
from tests.networks.references import arrays, assert_same_function, reference_conv


def test_four_results_of_six_rows():
    rng = np.random.default_rng(0)
    rows, kernel = rng.normal(size=6), rng.normal(size=3)
    expected = np.convolve(rows, kernel[::-1], mode="valid")
    np.testing.assert_allclose(RESULT @ ((IMAGE @ rows) * (KERNEL @ kernel)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 4, 5, 3), (1, 12, 1, 1), (3, 8, 8, 2)])
def test_winograd_conv2d(shape):
    with jax.enable_x64(True):
        x, kernel = arrays(shape, (3, 3, shape[3], 4))
        assert_same_function(winograd_conv2d, reference_conv, x, kernel)


def test_winograd_conv2d_of_several_runs():
    with jax.enable_x64(True):
        x, kernels = arrays((2, 3, 4, 4, 2), (2, 3, 3, 2, 3))
        assert_same_function(jax.vmap(winograd_conv2d), jax.vmap(reference_conv), x, kernels)


def test_its_error_in_float32_is_that_of_the_plain_form_within_a_factor_of_ten():
    with jax.enable_x64(True):
        x, kernel = arrays((4, 16, 16, 32), (3, 3, 32, 32))
        expected = np.asarray(conv2d(x, kernel))
    x, kernel = x.astype(np.float32), kernel.astype(np.float32)
    plain, fast = (np.abs(np.asarray(f(x, kernel)) - expected).max() for f in (conv2d, winograd_conv2d))
    assert 0 < fast < 10 * plain


@pytest.mark.parametrize(
    ("shape", "kernel", "dtype", "fast"),
    [
        ((2, 16, 16, 32), (3, 3, 32, 32), jnp.float32, True),
        ((2, 8, 8, 32), (3, 3, 32, 32), jnp.float32, False),  # small
        ((2, 18, 18, 32), (3, 3, 32, 32), jnp.float32, False),  # no multiple of four rows
        ((2, 16, 16, 3), (3, 3, 3, 32), jnp.float32, False),  # an image
        ((2, 16, 16, 32), (1, 1, 32, 32), jnp.float32, False),
        ((2, 16, 16, 32), (3, 3, 32, 32), jnp.bfloat16, False),
    ],
)
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_where_it_is_used(shape, kernel, dtype, fast, platform):
    arguments = (jax.ShapeDtypeStruct(size, dtype) for size in (shape, kernel))
    text = jax.jit(fast_conv2d).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert (text.count("stablehlo.convolution") == 6) == (fast and platform == "cpu")


def test_gradients_of_other_platforms_are_those_of_the_plain_form():
    gradient = jax.jit(jax.grad(lambda kernel, x: jnp.sum(winograd_conv2d(x, kernel) ** 2)))
    x, kernel = (functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)(s) for s in ((2, 8, 8, 3), (3, 3, 3, 4)))
    text = gradient.trace(kernel, x).lower(lowering_platforms=("cuda",)).as_text()
    assert text.count("stablehlo.convolution") == 2
