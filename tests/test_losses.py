"""The losses against SciPy and against the paper's formulas in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

from mpcc_jax import losses
from mpcc_jax.prior import GaussianMixture

RNG = np.random.default_rng(0)
LOGITS = np.concatenate([RNG.normal(size=20), [-1.0, 0.0, 1.0, 80.0, -80.0]]).astype(np.float32)
REFERENCES = {
    "hinge": (lambda o: -np.minimum(0, o - 1), lambda o: -np.minimum(0, -o - 1), lambda o: -o),
    "non_saturating": (
        lambda o: -special.log_expit(o),
        lambda o: -special.log_expit(-o),
        lambda o: -special.log_expit(o),
    ),
    "wasserstein": (lambda o: -o, lambda o: o, lambda o: -o),
    "least_squares": (lambda o: 0.5 * (o - 1) ** 2, lambda o: 0.5 * o**2, lambda o: 0.5 * (o - 1) ** 2),
}


def mixture(weights=(0.2, 0.3, 0.5), dim=4, seed=1):
    rng = np.random.default_rng(seed)
    shape = (len(weights), dim)
    return GaussianMixture(
        log_weights=jnp.log(jnp.asarray(weights)),
        mean=jnp.asarray(rng.normal(size=shape), jnp.float32),
        log_var=jnp.asarray(rng.normal(size=shape), jnp.float32),
    )


def density(mixture, z):
    """phi_k N(z | mu_k, sigma_k^2) in float64, [B, K]."""
    columns = [
        np.exp(w) * stats.multivariate_normal(mean, np.diag(np.exp(log_var))).pdf(z)
        for w, mean, log_var in zip(
            *(np.asarray(x, np.float64) for x in (mixture.log_weights, mixture.mean, mixture.log_var)), strict=True
        )
    ]
    return np.stack(columns, axis=-1)


@pytest.mark.parametrize("name", losses.ADVERSARIAL_LOSSES)
@pytest.mark.parametrize("role", range(3))
def test_adversarial_losses(name, role):
    actual = losses.ADVERSARIAL_LOSSES[name][role](jnp.asarray(LOGITS))
    np.testing.assert_allclose(actual, REFERENCES[name][role](LOGITS.astype(np.float64)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", losses.ADVERSARIAL_LOSSES)
def test_adversarial_losses_push_logits_the_right_way(name):
    f, g, h = losses.ADVERSARIAL_LOSSES[name]
    logits = jnp.asarray([0.3])
    slopes = [float(jax.grad(lambda o, loss=loss: loss(o)[0])(logits)[0]) for loss in (f, g, h)]
    assert slopes[0] < 0 < slopes[1]
    assert slopes[2] < 0


def test_gaussian_nll_is_the_normal_density():
    z, mean, log_var = (jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32) for _ in range(3))
    expected = -stats.norm(np.asarray(mean, np.float64), np.exp(0.5 * np.asarray(log_var, np.float64))).logpdf(z)
    np.testing.assert_allclose(losses.gaussian_nll(z, mean, log_var), expected.sum(-1), rtol=1e-5)


def test_gaussian_nll_constant_moves_the_value_only():
    arguments = [jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32) for _ in range(3)]
    shifted = losses.gaussian_nll(*arguments, log_constant=np.log(np.pi))
    np.testing.assert_allclose(losses.gaussian_nll(*arguments) - shifted, 3 * 0.5 * np.log(2), rtol=1e-5)


def test_log_membership_is_the_posterior():
    z = RNG.normal(size=(6, 4)).astype(np.float32)
    joint = density(mixture(), z)
    expected = np.log(joint / joint.sum(-1, keepdims=True))
    np.testing.assert_allclose(losses.log_membership(jnp.asarray(z), mixture()), expected, rtol=2e-5, atol=2e-5)


def test_log_membership_far_from_every_component():
    """Densities underflow here; the log-sum-exp does not."""
    log_memberships = losses.log_membership(jnp.full((1, 4), 1e4), mixture())
    assert np.all(np.isfinite(log_memberships))
    np.testing.assert_allclose(special.logsumexp(log_memberships, axis=-1), 0.0, atol=1e-6)


def test_membership_cross_entropy_picks_the_label():
    log_memberships = jnp.log(jnp.asarray([[0.1, 0.9], [0.75, 0.25]]))
    actual = losses.membership_cross_entropy(jnp.asarray([1, 0]), log_memberships)
    np.testing.assert_allclose(actual, -np.log([0.9, 0.75]), rtol=1e-6)


@pytest.mark.parametrize("weight", [None, 1.0, 0.125])
def test_prior_negative_entropy(weight):
    prior = mixture()
    entropies = [
        stats.multivariate_normal(cov=np.diag(np.exp(np.asarray(log_var, np.float64)))).entropy()
        for log_var in prior.log_var
    ]
    phi = np.exp(np.asarray(prior.log_weights, np.float64))
    expected = np.sum(phi * (np.log(phi) - (1 / 4 if weight is None else weight) * np.asarray(entropies)))
    np.testing.assert_allclose(losses.prior_negative_entropy(prior, weight), expected, rtol=1e-5)


def test_prior_negative_entropy_is_the_expectation_of_eq_5():
    """E over y and z of log p(y) + log p(z given y), by Monte Carlo."""
    prior = mixture()
    rng = np.random.default_rng(2)
    y = rng.choice(3, size=200_000, p=[0.2, 0.3, 0.5])
    z = prior.sample(jnp.asarray(y), jnp.asarray(rng.normal(size=(len(y), 4)), jnp.float32))
    terms = prior.log_weights[y] + jnp.take_along_axis(prior.component_log_prob(z), y[:, None], axis=-1)[:, 0]
    standard_error = float(terms.std()) / np.sqrt(len(y))
    assert abs(float(terms.mean()) - float(losses.prior_negative_entropy(prior, 1.0))) < 4 * standard_error


@pytest.mark.parametrize(
    "call",
    [
        lambda: losses.hinge_real(jnp.zeros((3, 1))),
        lambda: losses.hinge_fake(jnp.zeros(3, jnp.int32)),
        lambda: losses.gaussian_nll(jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.zeros((3, 1))),
        lambda: losses.gaussian_nll(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)),
        lambda: losses.log_membership(jnp.zeros((3, 5)), mixture()),
        lambda: losses.membership_cross_entropy(jnp.zeros(3), jnp.zeros((3, 2))),
        lambda: losses.membership_cross_entropy(jnp.zeros(2, jnp.int32), jnp.zeros((3, 2))),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(AssertionError):
        call()
