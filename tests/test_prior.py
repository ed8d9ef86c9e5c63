"""The priors: initialisation, the floor of sigma in both variants, sampling, densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mpcc_jax.losses import prior_negative_entropy
from mpcc_jax.prior import GaussianMixturePrior, StandardNormalPrior, draw_latents

KEY = jax.random.key(0)
MIXTURES = ("sampling_mixture", "membership_mixture", "entropy_mixture")


@pytest.mark.parametrize(("num_components", "latent_dim"), [(10, 24), (24, 10)])
def test_init_is_orthogonal_with_equal_variances(num_components, latent_dim):
    params = GaussianMixturePrior(num_components, latent_dim, initial_log_var=0.3).init(KEY)
    mean = np.asarray(params["mean"], np.float64)
    assert mean.shape == (num_components, latent_dim)
    gram = mean @ mean.T if num_components <= latent_dim else mean.T @ mean
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-5)
    np.testing.assert_allclose(params["log_var"], 0.3)


def params_with(log_var):
    return {"mean": jnp.zeros((1, 2)), "log_var": jnp.full((1, 2), log_var)}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_clip_floor_is_one_sigma_everywhere(mixture):
    mixture_of = getattr(GaussianMixturePrior(1, 2, sigma_min=0.5), mixture)
    for log_var in (-8.0, 1.0):
        sigma = np.exp(0.5 * np.asarray(mixture_of(params_with(log_var)).log_var))
        np.testing.assert_allclose(sigma, max(np.exp(log_var / 2), 0.5), rtol=1e-6)
    assert np.all(np.isnan(mixture_of(params_with(np.nan)).log_var))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_gradients_are_whole_on_the_floor_and_zero_below(mixture):
    """`jnp.maximum` halves a gradient at a tie, and `project` puts parameters exactly there."""
    prior = GaussianMixturePrior(1, 2, sigma_min=0.5)
    floor = prior.project(params_with(-8.0))
    slope = jax.grad(lambda params: jnp.sum(getattr(prior, mixture)(params).log_var))
    np.testing.assert_array_equal(slope(floor)["log_var"], 1.0)
    np.testing.assert_array_equal(slope(params_with(-8.0))["log_var"], 0.0)


def test_entropy_lifts_a_sigma_off_the_floor_by_the_closed_form():
    prior = GaussianMixturePrior(1, 2, sigma_min=0.5)
    slope = jax.grad(lambda params: prior_negative_entropy(prior.entropy_mixture(params)))
    np.testing.assert_allclose(slope(prior.project(params_with(-8.0)))["log_var"], -0.5 / 2)


@pytest.mark.parametrize("log_var", [-8.0, 1.0])
def test_added_floor_is_three_sigmas(log_var):
    prior, params = GaussianMixturePrior(1, 2, sigma_min=0.5, floor="add"), params_with(log_var)
    assert prior.project(params) is params
    sampling, membership, entropy = (getattr(prior, mixture)(params).log_var for mixture in MIXTURES)
    np.testing.assert_allclose(np.exp(0.5 * sampling), np.exp(log_var / 2) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.exp(membership), np.exp(log_var) + 0.25, rtol=1e-6)
    np.testing.assert_allclose(entropy, log_var)


def test_sample_is_the_reparameterization():
    prior = GaussianMixturePrior(3, 2)
    mixture = prior.sampling_mixture(prior.init(KEY))
    y, eps = jnp.asarray([2, 0, 2]), jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
    sigma = np.exp(0.5 * np.asarray(mixture.log_var))
    np.testing.assert_allclose(mixture.sample(y, eps), np.asarray(mixture.mean)[y] + sigma[y] * eps, rtol=1e-6)


def test_log_prob():
    prior = GaussianMixturePrior(3, 2)
    mixture = prior.sampling_mixture(prior.init(KEY))
    z = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    mean, sigma = np.asarray(mixture.mean, np.float64), np.exp(0.5 * np.asarray(mixture.log_var, np.float64))
    components = stats.norm(mean[None], sigma[None]).logpdf(z[:, None]).sum(-1)
    np.testing.assert_allclose(mixture.component_log_prob(z), components, rtol=1e-5)
    expected = special.logsumexp(components + np.log(1 / 3), axis=-1)
    np.testing.assert_allclose(mixture.log_prob(z), expected, rtol=1e-5)


def test_standard_normal_has_nothing_to_learn():
    prior = StandardNormalPrior(3)
    assert prior.init(KEY) == prior.project({}) == {}
    eps = jnp.asarray([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(prior.sampling_mixture({}).sample(jnp.asarray([0]), eps), eps)
    np.testing.assert_allclose(prior.membership_mixture({}).log_prob(eps), stats.norm.logpdf(eps).sum(-1), rtol=1e-6)


def test_signatures_are_checked_in_every_transformation():
    """Under the import hook of conftest.py: vmap, scan, eval_shape and float64, with pytrees of whatever they hold."""
    prior = GaussianMixturePrior(3, 2)

    def density(key):
        mixture = prior.sampling_mixture(prior.init(key))
        z = jax.lax.scan(lambda _, latents: (None, mixture.sample(*latents)), None, draw_latents(key, (4, 5), prior))[1]
        return jax.vmap(mixture.log_prob)(z)

    keys = jax.random.split(KEY, 6)
    assert jax.eval_shape(jax.vmap(density), keys).shape == (6, 4, 5)
    with jax.enable_x64(True):
        assert jax.jit(density)(KEY).dtype == jnp.float64
    assert jax.tree.map(lambda _: None, prior.sampling_mixture(prior.init(KEY))).mean is None
