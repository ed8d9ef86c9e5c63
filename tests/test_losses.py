"""The losses against SciPy and against the paper's formulas in float64."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
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
WEIGHTS, DIM = (0.2, 0.3, 0.5), 4


@pytest.fixture(scope="module")
def mixture():
    mean, log_var = np.random.default_rng(1).normal(size=(2, len(WEIGHTS), DIM)).astype(np.float32)
    return GaussianMixture(jnp.log(jnp.asarray(WEIGHTS)), jnp.asarray(mean), jnp.asarray(log_var))


def component_normals(mixture):
    """N(mu_k, sigma_k^2) in float64."""
    mean, log_var = (np.asarray(array, np.float64) for array in (mixture.mean, mixture.log_var))
    return [stats.multivariate_normal(m, np.diag(np.exp(v))) for m, v in zip(mean, log_var, strict=True)]


@pytest.mark.parametrize("role", losses.AdversarialLoss._fields)
@pytest.mark.parametrize("name", losses.ADVERSARIAL_LOSSES)
def test_adversarial_losses(name, role):
    loss = getattr(losses.ADVERSARIAL_LOSSES[name], role)
    expected = losses.AdversarialLoss(*REFERENCES[name])
    np.testing.assert_allclose(
        loss(jnp.asarray(LOGITS)), getattr(expected, role)(LOGITS.astype(np.float64)), rtol=1e-6, atol=1e-6
    )
    slope = jax.grad(lambda logits: loss(logits)[0])(jnp.asarray([0.3]))
    assert (slope > 0) == (role == "fake")


def test_gaussian_nll_is_the_normal_density():
    z, mean, log_var = (jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32) for _ in range(3))
    expected = -stats.norm(np.asarray(mean, np.float64), np.exp(0.5 * np.asarray(log_var, np.float64))).logpdf(z)
    actual = losses.gaussian_nll(z, mean, log_var)
    np.testing.assert_allclose(actual, expected.sum(-1), rtol=1e-5)
    shifted = losses.gaussian_nll(z, mean, log_var, log_constant=float(np.log(np.pi)))
    np.testing.assert_allclose(actual - shifted, 3 * 0.5 * np.log(2), rtol=1e-5)


def test_log_membership_is_the_posterior(mixture):
    z = RNG.normal(size=(6, DIM)).astype(np.float32)
    joint = np.stack([w * normal.pdf(z) for w, normal in zip(WEIGHTS, component_normals(mixture), strict=True)], -1)
    expected = np.log(joint / joint.sum(-1, keepdims=True))
    np.testing.assert_allclose(losses.log_membership(z, mixture), expected, rtol=2e-5, atol=2e-5)


def test_log_membership_far_from_every_component(mixture):
    """Densities underflow here; the log-sum-exp does not."""
    log_memberships = losses.log_membership(jnp.full((1, DIM), 1e4), mixture)
    assert np.all(np.isfinite(log_memberships))
    np.testing.assert_allclose(special.logsumexp(log_memberships, axis=-1), 0.0, atol=1e-6)


def test_membership_cross_entropy_picks_the_component():
    log_memberships = jnp.log(jnp.asarray([[0.1, 0.9], [0.75, 0.25]]))
    actual = losses.membership_cross_entropy(jnp.asarray([1, 0]), log_memberships)
    np.testing.assert_allclose(actual, -np.log([0.9, 0.75]), rtol=1e-6)


@pytest.mark.parametrize("weight", [None, 1.0, 0.125])
def test_prior_negative_entropy(mixture, weight):
    entropies = np.asarray([normal.entropy() for normal in component_normals(mixture)])
    expected = np.sum(WEIGHTS * (np.log(WEIGHTS) - (1 / DIM if weight is None else weight) * entropies))
    np.testing.assert_allclose(losses.prior_negative_entropy(mixture, weight), expected, rtol=1e-5)


def test_prior_negative_entropy_is_the_expectation_of_eq_5(mixture):
    """E over y and z of log p(y) + log p(z given y), by Monte Carlo."""
    rng = np.random.default_rng(2)
    y = rng.choice(3, size=200_000, p=WEIGHTS)
    z = mixture.sample(y, rng.normal(size=(len(y), DIM)).astype(np.float32))
    terms = mixture.log_weights[y] + jnp.take_along_axis(mixture.component_log_prob(z), y[:, None], axis=-1)[:, 0]
    standard_error = float(terms.std()) / np.sqrt(len(y))
    assert abs(float(terms.mean()) - float(losses.prior_negative_entropy(mixture, 1.0))) < 4 * standard_error


@pytest.mark.parametrize("error", [AssertionError, jaxtyping.TypeCheckError])
@pytest.mark.parametrize(
    "call",
    [
        lambda mixture: losses.hinge_real(jnp.zeros((3, 1))),
        lambda mixture: losses.hinge_fake(jnp.zeros(3, jnp.int32)),
        lambda mixture: losses.gaussian_nll(jnp.zeros((3, 2)), jnp.zeros((3, 2)), jnp.zeros((3, 1))),
        lambda mixture: losses.gaussian_nll(jnp.zeros(2), jnp.zeros(2), jnp.zeros(2)),
        lambda mixture: losses.log_membership(jnp.zeros(5), mixture),
        lambda mixture: losses.membership_cross_entropy(jnp.zeros(3), jnp.zeros((3, 2))),
        lambda mixture: losses.membership_cross_entropy(jnp.zeros(2, jnp.int32), jnp.zeros((3, 2))),
    ],
)
def test_wrong_shapes_and_types_are_refused(call, error, mixture, monkeypatch):
    """By jaxtyping in tests, and by chex for users, who run without the import hook."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", error is AssertionError)
    with pytest.raises(error):
        call(mixture)


def test_latents_of_another_dimension_are_refused(mixture):
    with pytest.raises(AssertionError):
        losses.log_membership(jnp.zeros((3, DIM + 1)), mixture)


def test_the_equations_need_jax_chex_and_jaxtyping_alone():
    program = (
        "import sys, jax, jax.numpy, chex, jaxtyping; before = set(sys.modules); from mpcc_jax import losses, prior;"
    )
    program += "print(*sorted(set(sys.modules) - before))"
    outputs = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert outputs.split() == ["mpcc_jax", "mpcc_jax.losses", "mpcc_jax.prior"]


def toy_of_weights(mean, sd):
    """Estimators of the gradient in log phi, and the exact one: K = 3 components N(m_k, s_k^2), a loss a z^2 + b z."""
    phi, a, b, batch = np.array([0.5, 0.3, 0.2]), 0.5, 0.3, 50
    mean, sd = np.asarray(mean), np.asarray(sd)
    values_of_components = a * (mean**2 + sd**2) + b * mean
    exact = phi * (values_of_components - phi @ values_of_components)
    slope = jax.jit(
        jax.vmap(jax.grad(lambda rho, y, v: losses.weights_score(jax.nn.log_softmax(rho), y, v)), (None, 0, 0))
    )

    def estimates(name, repetitions=4000):
        rng = np.random.default_rng(0)
        draws = rng.random((repetitions, batch))
        if name == "systematic":
            draws = (np.arange(batch) + draws[:, :1]) / batch
        y = np.minimum(np.searchsorted(np.cumsum(phi), draws, side="right"), 2)
        z = rng.normal(mean[y], sd[y])
        values = a * z**2 + b * z
        if name == "systematic":
            return np.asarray(slope(jnp.log(phi).astype(jnp.float32), y, values.astype(np.float32)))
        if name == "gumbel":  # straight through, temperature 1, as the draws are made of the same noise
            logits = np.log(phi) + rng.gumbel(size=(repetitions, batch, 3))
            eps, hard = rng.normal(size=(repetitions, batch)), logits.argmax(axis=-1)
            parts, soft = mean + sd * eps[..., None], special.softmax(logits, axis=-1)
            z = np.take_along_axis(parts, hard[..., None], axis=-1)[..., 0]
            slopes = soft * (parts - (soft * parts).sum(axis=-1, keepdims=True))
            return ((2 * a * z + b)[..., None] * slopes).mean(axis=1)
        scores = np.eye(3)[y] - phi
        if name == "rao_blackwell":
            density = phi * stats.norm(mean, sd).pdf(z[..., None])
            scores = density / density.sum(axis=-1, keepdims=True) - phi
        if name == "leave_one_out":
            values = values - (values.sum(axis=1, keepdims=True) - values) / (batch - 1)
        return (scores * values[..., None]).mean(axis=1)

    return estimates, exact


@pytest.mark.parametrize(
    ("mean", "sd", "gain"), [([-0.5, 0.0, 0.5], [1.0, 1.0, 1.0], 1.0), ([-4.0, 0.0, 5.0], [0.5, 0.5, 0.5], 0.5)]
)
def test_the_gradient_in_the_weights_is_unbiased_and_spreads_least(mean, sd, gain):
    """Components that overlap, and such that have come apart: section 4 of the research notes."""
    estimates, exact = toy_of_weights(mean, sd)
    spread = {}
    for name in ("score", "rao_blackwell", "leave_one_out", "systematic"):
        found = estimates(name)
        spread[name] = found.std(axis=0)
        assert np.all(np.abs(found.mean(axis=0) - exact) < 4 * spread[name] / np.sqrt(len(found))), name
    assert np.all(spread["systematic"] < gain * spread["leave_one_out"])
    assert spread["leave_one_out"].sum() < spread["score"].sum()
    apart = np.abs(spread["rao_blackwell"] - spread["score"]).max()
    assert (apart < 1e-3) == (gain < 1.0), "memberships tell nothing more where components have come apart"
    found = estimates("gumbel")
    assert np.any(np.abs(found.mean(axis=0) - exact) > 8 * found.std(axis=0) / np.sqrt(len(found))), "it is biased"
