"""Spectral normalisation against NumPy's singular values and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.networks.spectral import SpectralConv, SpectralDense, SpectralEmbed, fan_in_uniform, spectral_normalise


def kernel_and_u(shape=(3, 3, 2, 5)):
    rng = np.random.default_rng(0)
    return jnp.asarray(rng.normal(size=shape)), jnp.asarray(rng.normal(size=shape[-1]))


def test_many_iterations_give_the_largest_singular_value():
    with jax.enable_x64(True):
        kernel, u = kernel_and_u()
        normalised, new_u, sigma = spectral_normalise(kernel, u, num_iterations=200)
        _, values, right = np.linalg.svd(np.asarray(kernel).reshape(-1, 5))
        np.testing.assert_allclose(sigma, values[0], rtol=1e-8)
        np.testing.assert_allclose(np.abs(new_u @ right[0]), 1.0, rtol=1e-8)
        np.testing.assert_allclose(normalised, kernel / values[0], rtol=1e-8)


def test_two_calls_are_one_call_of_two_iterations():
    kernel, u = kernel_and_u()
    _, once, _ = spectral_normalise(kernel, u)
    _, twice, sigma = spectral_normalise(kernel, once)
    _, both, sigma_both = spectral_normalise(kernel, u, num_iterations=2)
    np.testing.assert_allclose(twice, both, rtol=1e-6)
    np.testing.assert_allclose(sigma, sigma_both, rtol=1e-6)


def test_gradient_goes_through_sigma_with_fixed_vectors():
    """d sigma / dK = v u^T, so K / sigma moves along G / sigma - <G, K> v u^T / sigma^2."""
    with jax.enable_x64(True):
        kernel, u = kernel_and_u((4, 3))
        cotangent = jnp.asarray(np.random.default_rng(1).normal(size=(4, 3)))
        (_, new_u, sigma), pullback = jax.vjp(lambda k: spectral_normalise(k, u), kernel)
        (gradient,) = pullback((cotangent, jnp.zeros_like(new_u), jnp.zeros_like(sigma)))
        v = kernel @ u
        v = v / np.linalg.norm(v)
        expected = cotangent / sigma - jnp.sum(cotangent * kernel) * jnp.outer(v, new_u) / sigma**2
        np.testing.assert_allclose(gradient, expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("layer", "inputs", "sides"),
    [
        (SpectralConv(5), jnp.ones((2, 4, 4, 3)), 5),
        (SpectralDense(5), jnp.ones((2, 3)), 5),
        (SpectralEmbed(5, num_embeddings=7), jnp.asarray([0, 6]), 7),
    ],
)
def test_layers_store_u_when_training_only(layer, inputs, sides):
    variables = layer.init(jax.random.key(0), inputs, True)
    assert variables["spectral"]["u"].shape == (sides,)
    outputs, unchanged = layer.apply(variables, inputs, False, mutable=["spectral"])
    trained, advanced = layer.apply(variables, inputs, True, mutable=["spectral"])
    np.testing.assert_array_equal(outputs, trained)
    np.testing.assert_array_equal(unchanged["spectral"]["u"], variables["spectral"]["u"])
    assert not np.allclose(advanced["spectral"]["u"], variables["spectral"]["u"])


def test_init_keeps_the_raw_kernel():
    variables = SpectralDense(64).init(jax.random.key(0), jnp.ones((1, 256)), True)
    np.testing.assert_allclose(np.std(variables["params"]["kernel"]), 0.02, rtol=0.03)
    np.testing.assert_array_equal(variables["params"]["bias"], 0.0)


def test_uniform_biases_are_bounded_by_the_fan_in():
    variables = SpectralConv(256, bias_init="uniform").init(jax.random.key(0), jnp.ones((1, 4, 4, 4)), True)
    bias, bound = np.abs(variables["params"]["bias"]), 36**-0.5
    assert bias.max() < bound
    np.testing.assert_allclose(bias.mean(), bound / 2, rtol=0.1)
    assert fan_in_uniform(36)(jax.random.key(0), (2,)).shape == (2,)
