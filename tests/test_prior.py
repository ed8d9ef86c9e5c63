"""The priors: initialisation, the floor of sigma in both variants, sampling, densities."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mpcc_jax.losses import prior_negative_entropy
from mpcc_jax.prior import GaussianMixturePrior, StandardNormalPrior, orthogonal_rows

KEY = jax.random.key(0)


@pytest.mark.parametrize(("num_rows", "num_columns"), [(10, 24), (6, 6), (24, 10)])
def test_orthogonal_rows(num_rows, num_columns):
    matrix = np.asarray(orthogonal_rows(KEY, num_rows, num_columns), np.float64)
    gram = matrix @ matrix.T if num_rows <= num_columns else matrix.T @ matrix
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)


def test_init_is_orthogonal_with_equal_variances():
    params = GaussianMixturePrior(4, 8, initial_log_var=0.3).init(KEY)
    np.testing.assert_allclose(params["mean"] @ params["mean"].T, np.eye(4), atol=1e-5)
    np.testing.assert_allclose(params["log_var"], 0.3)


def params_with(log_var):
    return {"mean": jnp.zeros((1, 2)), "log_var": jnp.full((1, 2), log_var)}


@pytest.mark.parametrize("log_var", [-8.0, 1.0])
def test_clip_floor_is_one_sigma_everywhere(log_var):
    prior = GaussianMixturePrior(1, 2, sigma_min=0.5, floor="clip")
    for mixture in (prior.sampling, prior.membership, prior.entropy):
        sigma = np.exp(0.5 * np.asarray(mixture(params_with(log_var)).log_var))
        np.testing.assert_allclose(sigma, max(np.exp(log_var / 2), 0.5), rtol=1e-6)


@pytest.mark.parametrize("log_var", [-8.0, 1.0])
def test_added_floor_is_three_sigmas(log_var):
    prior = GaussianMixturePrior(1, 2, sigma_min=0.5, floor="add")
    params = params_with(log_var)
    np.testing.assert_allclose(
        np.exp(0.5 * prior.sampling_mixture(params).log_var), np.exp(log_var / 2) + 0.5, rtol=1e-6
    )
    np.testing.assert_allclose(np.exp(prior.membership_mixture(params).log_var), np.exp(log_var) + 0.25, rtol=1e-6)
    np.testing.assert_allclose(prior.entropy_mixture(params).log_var, log_var)


def test_projection_lets_entropy_lift_a_sigma_off_the_floor():
    prior = GaussianMixturePrior(1, 2, sigma_min=0.5)

    def gradient(params):
        return jax.grad(lambda theta: prior_negative_entropy(prior.entropy_mixture(theta)))(params)["log_var"]

    below = params_with(-8.0)
    assert np.all(gradient(below) == 0)
    assert np.all(gradient(prior.project(below)) < 0)
    unbounded = dataclasses.replace(prior, floor="add")
    assert unbounded.project(below) is below


def test_sample_is_the_reparameterization():
    prior = GaussianMixturePrior(3, 2)
    mixture = prior.sampling_mixture(prior.init(KEY))
    y, eps = jnp.asarray([2, 0, 2]), jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
    sigma = np.exp(0.5 * np.asarray(mixture.log_var))
    np.testing.assert_allclose(mixture.sample(y, eps), np.asarray(mixture.mean)[y] + sigma[y] * eps, rtol=1e-6)


def test_log_prob_and_typicality():
    prior = GaussianMixturePrior(3, 2)
    mixture = prior.sampling_mixture(prior.init(KEY))
    z = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    mean, sigma = np.asarray(mixture.mean, np.float64), np.exp(0.5 * np.asarray(mixture.log_var, np.float64))
    components = stats.norm(mean[None], sigma[None]).logpdf(z[:, None]).sum(-1)
    np.testing.assert_allclose(mixture.component_log_prob(jnp.asarray(z)), components, rtol=1e-5)
    expected = special.logsumexp(components + np.log(1 / 3), axis=-1)
    np.testing.assert_allclose(mixture.log_prob(jnp.asarray(z)), expected, rtol=1e-5)
    k = components.argmax(-1)
    np.testing.assert_allclose(
        mixture.typicality(jnp.asarray(z)), (((z - mean[k]) / sigma[k]) ** 2).mean(-1), rtol=1e-5
    )


def test_standard_normal_has_nothing_to_learn():
    prior = StandardNormalPrior(3)
    assert prior.init(KEY) == prior.project({}) == {}
    eps = jnp.asarray([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(prior.sampling_mixture({}).sample(jnp.asarray([0]), eps), eps)
    np.testing.assert_allclose(prior.membership_mixture({}).log_prob(eps), stats.norm.logpdf(eps).sum(-1), rtol=1e-6)
