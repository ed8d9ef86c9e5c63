"""The priors: initialisation, the floor of sigma in both variants; samples, densities and entropies of families."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

from mpcc_jax.losses import prior_negative_entropy
from mpcc_jax.prior import FAMILIES, MixturePrior, StandardNormalPrior, draw_latents

KEY = jax.random.key(0)
MIXTURES = ("sampling_mixture", "membership_mixture", "entropy_mixture")


@pytest.mark.parametrize(("num_components", "latent_dim"), [(10, 24), (24, 10)])
def test_init_is_orthogonal_with_equal_variances(num_components, latent_dim):
    params = MixturePrior(num_components, latent_dim, initial_log_var=0.3).init(KEY)
    mean = np.asarray(params["mean"], np.float64)
    assert mean.shape == (num_components, latent_dim)
    gram = mean @ mean.T if num_components <= latent_dim else mean.T @ mean
    np.testing.assert_allclose(gram, np.eye(10), atol=1e-5)
    np.testing.assert_allclose(params["log_var"], 0.3)


def params_with(log_var):
    return {"mean": jnp.zeros((1, 2)), "log_var": jnp.full((1, 2), log_var)}


@pytest.mark.parametrize("mixture", MIXTURES)
def test_clip_floor_is_one_sigma_everywhere(mixture):
    mixture_of = getattr(MixturePrior(1, 2, sigma_min=0.5), mixture)
    for log_var in (-8.0, 1.0):
        sigma = np.exp(0.5 * np.asarray(mixture_of(params_with(log_var)).log_var))
        np.testing.assert_allclose(sigma, max(np.exp(log_var / 2), 0.5), rtol=1e-6)
    assert np.all(np.isnan(mixture_of(params_with(np.nan)).log_var))


@pytest.mark.parametrize("mixture", MIXTURES)
def test_gradients_are_whole_on_the_floor_and_zero_below(mixture):
    """`jnp.maximum` halves a gradient at a tie, and `project` puts parameters exactly there."""
    prior = MixturePrior(1, 2, sigma_min=0.5)
    floor = prior.project(params_with(-8.0))
    slope = jax.grad(lambda params: jnp.sum(getattr(prior, mixture)(params).log_var))
    np.testing.assert_array_equal(slope(floor)["log_var"], 1.0)
    np.testing.assert_array_equal(slope(params_with(-8.0))["log_var"], 0.0)


def test_entropy_lifts_a_sigma_off_the_floor_by_the_closed_form():
    prior = MixturePrior(1, 2, sigma_min=0.5)
    slope = jax.grad(lambda params: prior_negative_entropy(prior.entropy_mixture(params)))
    np.testing.assert_allclose(slope(prior.project(params_with(-8.0)))["log_var"], -0.5 / 2)


@pytest.mark.parametrize("log_var", [-8.0, 1.0])
def test_added_floor_is_three_sigmas(log_var):
    prior, params = MixturePrior(1, 2, sigma_min=0.5, floor="add"), params_with(log_var)
    assert prior.project(params) is params
    sampling, membership, entropy = (getattr(prior, mixture)(params).log_var for mixture in MIXTURES)
    np.testing.assert_allclose(np.exp(0.5 * sampling), np.exp(log_var / 2) + 0.5, rtol=1e-6)
    np.testing.assert_allclose(np.exp(membership), np.exp(log_var) + 0.25, rtol=1e-6)
    np.testing.assert_allclose(entropy, log_var)


def test_sample_is_the_reparameterization():
    prior = MixturePrior(3, 2)
    mixture = prior.sampling_mixture(prior.init(KEY))
    y, eps = jnp.asarray([2, 0, 2]), jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)), jnp.float32)
    sigma = np.exp(0.5 * np.asarray(mixture.log_var))
    np.testing.assert_allclose(mixture.sample(y, eps), np.asarray(mixture.mean)[y] + sigma[y] * eps, rtol=1e-6)


def test_log_prob():
    prior = MixturePrior(3, 2)
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
    prior = MixturePrior(3, 2)

    def density(key):
        mixture = prior.sampling_mixture(prior.init(key))
        z = jax.lax.scan(lambda _, latents: (None, mixture.sample(*latents)), None, draw_latents(key, (4, 5), prior))[1]
        return jax.vmap(mixture.log_prob)(z)

    keys = jax.random.split(KEY, 6)
    assert jax.eval_shape(jax.vmap(density), keys).shape == (6, 4, 5)
    with jax.enable_x64(True):
        assert jax.jit(density)(KEY).dtype == jnp.float64
    assert jax.tree.map(lambda _: None, prior.sampling_mixture(prior.init(KEY))).mean is None


FAMILY_OF_SCIPY = {
    "gaussian": stats.norm(),
    "laplace": stats.laplace(scale=np.sqrt(0.5)),
    "logistic": stats.logistic(scale=np.sqrt(3) / np.pi),
    "student_t": stats.t(5.0, scale=np.sqrt(3 / 5)),
}
CORRELATED = ("full", "low_rank")


def one_dimension(family, df=5.0):
    """A mixture of one component in one dimension, of mean 0.5 and standard deviation 1.5."""
    prior = MixturePrior(1, 1, family=family, degrees_of_freedom=df)
    return prior, prior.sampling_mixture({"mean": jnp.full((1, 1), 0.5), "log_var": jnp.full((1, 1), np.log(1.5**2))})


def expected_of(family):
    return lambda x: FAMILY_OF_SCIPY[family].logpdf((x - 0.5) / 1.5) - np.log(1.5)


@pytest.mark.parametrize("family", FAMILY_OF_SCIPY)
def test_density_and_entropy_of_a_family(family):
    """Against SciPy, six deviations away too; the density integrates to one."""
    _, mixture = one_dimension(family)
    z = np.linspace(-8.5, 9.5, 37, dtype=np.float32)
    np.testing.assert_allclose(mixture.component_log_prob(z[:, None])[:, 0], expected_of(family)(z), rtol=1e-5)
    entropy = FAMILY_OF_SCIPY[family].entropy() + np.log(1.5)
    np.testing.assert_allclose(mixture.component_entropy, [entropy], rtol=1e-5)
    with jax.enable_x64(True):
        density = jax.jit(lambda x: jnp.exp(one_dimension(family)[1].log_prob(x[:, None])))
        total = integrate.quad_vec(lambda x: np.asarray(density(np.float64([x]))), -np.inf, np.inf)[0]
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)


@pytest.mark.parametrize("family", FAMILY_OF_SCIPY)
def test_samples_of_a_family(family):
    """Kolmogorov and Smirnov's distance to SciPy's; noise of 0 is the mean, and that of six deviations finite."""
    prior, mixture = one_dimension(family)
    eps = np.random.default_rng(0).normal(size=(100_000, prior.noise_dim)).astype(np.float32)
    z = np.asarray(mixture.sample(jnp.zeros(len(eps), int), eps))[:, 0]
    assert stats.kstest(z, lambda x: FAMILY_OF_SCIPY[family].cdf((x - 0.5) / 1.5)).pvalue > 0.01
    far = mixture.sample(jnp.zeros(3, int), jnp.asarray([-6.0, 0.0, 6.0])[:, None] * jnp.ones((3, prior.noise_dim)))
    assert np.all(np.isfinite(far))
    np.testing.assert_allclose(far[:, 0] - 0.5, [-(far[2, 0] - 0.5), 0.0, far[2, 0] - 0.5], atol=1e-5)
    slopes = jax.vmap(jax.grad(lambda e: mixture.sample(jnp.zeros(1, int), e[None])[0, 0]))(eps[:1000])
    assert np.all(np.isfinite(slopes))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_a_family(family):
    """Of a sample, a density and an entropy in all parameters, against finite differences in float64."""
    with jax.enable_x64(True):
        prior = MixturePrior(2, 3, family=family, learn_degrees_of_freedom=True, rank=2)
        rng = np.random.default_rng(0)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.1 * rng.normal(size=leaf.shape)), prior.init(KEY))
        assert ("excess" in params) == (family == "student_t")
        eps, y = jnp.asarray(rng.normal(size=(4, prior.noise_dim))), jnp.asarray([0, 1, 1, 0])

        def loss(params):
            mixture = prior.sampling_mixture(params)
            z = mixture.sample(y, eps)
            return jnp.sum(jnp.sin(z)) + jnp.sum(mixture.log_prob(z)) + jnp.sum(mixture.component_entropy)

        jax.test_util.check_grads(loss, (params,), order=1, modes=["rev"], eps=1e-5)


def correlated(family):
    """Two components in three dimensions, and SciPy's of the same covariances."""
    prior = MixturePrior(2, 3, family=family, rank=2)
    rng = np.random.default_rng(3)
    params = {name: leaf + 0.7 * rng.normal(size=leaf.shape) for name, leaf in prior.init(KEY).items()}
    mixture = prior.sampling_mixture(jax.tree.map(jnp.asarray, params))
    sigma, factor = (np.asarray(array, np.float64) for array in (jnp.exp(0.5 * mixture.log_var), mixture.form))
    if family == "full":
        lower = sigma[..., None] * (np.eye(3) + np.tril(factor, -1))
        covariances = lower @ lower.swapaxes(1, 2)
    else:
        loadings = sigma[..., None] * factor
        covariances = np.stack([np.diag(row**2) for row in sigma]) + loadings @ loadings.swapaxes(1, 2)
    normals = [
        stats.multivariate_normal(mean, covariance)
        for mean, covariance in zip(np.asarray(mixture.mean), covariances, strict=True)
    ]
    return prior, mixture, normals, covariances


@pytest.mark.parametrize("family", CORRELATED)
def test_density_and_entropy_with_correlations(family):
    """Against SciPy's multivariate normal, six deviations away too."""
    with jax.enable_x64(True):
        _, mixture, normals, covariances = correlated(family)
        z = np.random.default_rng(0).normal(size=(50, 3)) * np.linspace(0.1, 15.0, 50)[:, None]
        expected = np.stack([normal.logpdf(z) for normal in normals], axis=1)
        np.testing.assert_allclose(mixture.component_log_prob(z), expected, rtol=1e-9)
        np.testing.assert_allclose(mixture.component_entropy, [normal.entropy() for normal in normals], rtol=1e-9)
        variances = np.diagonal(covariances, axis1=1, axis2=2)
        np.testing.assert_allclose(jnp.exp(mixture.marginal_log_var), variances, rtol=1e-9)
        nearest = expected.argmax(axis=1)
        squares = -2.0 * (expected + [normal.entropy() for normal in normals])[np.arange(50), nearest] + 3.0
        np.testing.assert_allclose(mixture.typicality(jnp.asarray(z)), squares / 3.0, rtol=1e-8)
        single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), mixture)
    single = single.component_log_prob(z.astype(np.float32))
    np.testing.assert_allclose(single, expected, rtol=1e-4)


@pytest.mark.parametrize("family", CORRELATED)
def test_samples_with_correlations(family):
    """Along random directions, where each component is a normal of one dimension."""
    prior, mixture, normals, covariances = correlated(family)
    rng, count = np.random.default_rng(0), 50_000
    eps = rng.normal(size=(count, prior.noise_dim)).astype(np.float32)
    for k, (normal, covariance) in enumerate(zip(normals, covariances, strict=True)):
        z = np.asarray(mixture.sample(jnp.full(count, k), eps))
        for direction in rng.normal(size=(4, 3)):
            deviation = np.sqrt(direction @ covariance @ direction)
            distribution = stats.norm(direction @ normal.mean, deviation)
            assert stats.kstest(z @ direction, distribution.cdf).pvalue > 0.005


@pytest.mark.parametrize("family", [*CORRELATED, "flow"])
def test_without_correlations_it_is_the_gaussian(family):
    prior, plain = MixturePrior(2, 3, family=family, rank=2), MixturePrior(2, 3)
    mixture = prior.sampling_mixture({name: leaf * (name != "factor") for name, leaf in prior.init(KEY).items()})
    normal = plain.sampling_mixture(plain.init(KEY))
    eps = np.random.default_rng(0).normal(size=(9, prior.noise_dim)).astype(np.float32)
    z, y = normal.sample(jnp.arange(9) % 2, eps[:, :3]), jnp.arange(9) % 2
    np.testing.assert_allclose(mixture.sample(y, eps), z, rtol=1e-6)
    np.testing.assert_allclose(mixture.component_log_prob(z), normal.component_log_prob(z), rtol=1e-5)
    np.testing.assert_allclose(mixture.component_entropy, normal.component_entropy, rtol=1e-6)


def bent(latent_dim=2):
    """A flow of one component, far from the identity."""
    prior = MixturePrior(1, latent_dim, family="flow")
    rng = np.random.default_rng(2)
    params = {name: jnp.asarray(leaf + 0.7 * rng.normal(size=leaf.shape)) for name, leaf in prior.init(KEY).items()}
    return prior.sampling_mixture(params)


def test_a_flow_has_the_density_and_the_entropy_of_its_samples():
    """The density integrates to one over the plane; its mean over samples is the closed form; eps comes back."""
    with jax.enable_x64(True):
        mixture = bent()
        axis = np.linspace(-25.0, 25.0, 1001)
        plane = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
        density = np.exp(jax.jit(mixture.log_prob)(plane))
        np.testing.assert_allclose(density.sum() * (axis[1] - axis[0]) ** 2, 1.0, rtol=1e-6)
        eps = np.random.default_rng(0).normal(size=(20_000, 2))
        z = mixture.sample(jnp.zeros(len(eps), int), eps)
        logs = np.asarray(mixture.log_prob(z))
        error = logs.std() / np.sqrt(len(logs))
        assert abs(logs.mean() + mixture.component_entropy[0]) < 4 * error
        np.testing.assert_allclose(mixture.typicality(z), (eps**2).mean(axis=1), rtol=1e-9, atol=1e-12)
        inside = density.reshape(1001, 1001)
        for dimension in range(2):  # columns of the plane are its first one
            marginal = np.cumsum(inside.sum(axis=dimension)) * (axis[1] - axis[0]) ** 2
            cdf = lambda x, marginal=marginal: np.interp(x, axis + 0.025, marginal)  # noqa: E731
            assert stats.kstest(np.asarray(z)[:, dimension], cdf).pvalue > 0.01


def test_a_flow_of_an_odd_number_of_dimensions():
    mixture = bent(3)
    eps = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    z = mixture.sample(jnp.zeros(8, int), eps)
    np.testing.assert_allclose(mixture.typicality(z), (eps**2).mean(axis=1), rtol=1e-3)
    assert np.all(np.isfinite(mixture.component_log_prob(6.0 * z)))


def test_many_degrees_of_freedom_are_gaussian():
    with jax.enable_x64(True):
        (_, normal), (prior, student) = one_dimension("gaussian"), one_dimension("student_t", 1e7)
        z, y = jnp.linspace(-3.0, 4.0, 9)[:, None], jnp.zeros(9, int)
        np.testing.assert_allclose(student.component_log_prob(z), normal.component_log_prob(z), atol=1e-5)
        np.testing.assert_allclose(student.component_entropy, normal.component_entropy, atol=1e-5)
        np.testing.assert_allclose(student.sample(y, jnp.tile(z, prior.noise_dim)), normal.sample(y, z), atol=1e-5)


def test_given_weights_are_those_of_draws_and_density():
    prior = MixturePrior(3, 2, weights="0.7,0.2,0.1")
    mixture = prior.sampling_mixture(prior.init(KEY))
    np.testing.assert_allclose(np.exp(mixture.log_weights), [0.7, 0.2, 0.1], rtol=1e-6)
    latents = draw_latents(KEY, (4, 50), prior)
    assert latents.y.shape == (4, 50)
    for y in latents.y:
        counts = np.bincount(mixture.components(y), minlength=3)
        assert np.all(np.abs(counts - [35, 10, 5]) <= 1), "systematic draws are within one of B phi"
    y, z = mixture.draw(jax.tree.map(lambda leaf: leaf[0], latents))
    np.testing.assert_array_equal(z, mixture.sample(y, latents.eps[0]))
    np.testing.assert_array_equal(mixture.components(jnp.asarray([0.0, 1.0])), [0, 2])
    np.testing.assert_array_equal(mixture.components(jnp.asarray([2, 0])), [2, 0])


def toy_memberships(weights, mean, count=20_000):
    """Draws of a mixture of unit Gaussians, and their memberships under any weights."""
    rng = np.random.default_rng(0)
    z = rng.normal(np.asarray(mean)[rng.choice(len(mean), count, p=weights)], 1.0)
    density = stats.norm(np.asarray(mean)[None], 1.0).pdf(z[:, None])
    return lambda phi: (density * phi / (density * phi).sum(axis=1, keepdims=True)).mean(axis=0)


def test_em_finds_shares_that_one_average_misses():
    """Section 4 of the research notes: (0.70, 0.20, 0.10) from equal weights, with components that overlap."""
    true, prior = np.array([0.7, 0.2, 0.1]), MixturePrior(3, 1, weights="em", weights_rate=0.1, weights_prior=0.0)
    memberships = toy_memberships(true, [-1.5, 0.5, 2.5])
    once = memberships(np.full(3, 1 / 3))
    assert np.abs(once - true).max() > 0.06
    params = prior.init(KEY)
    for _ in range(400):
        phi = np.exp(np.asarray(prior.log_weights(params)))
        params = prior.match_weights(params, jnp.asarray(memberships(phi), jnp.float32))
    np.testing.assert_allclose(np.exp(prior.log_weights(params)), true, atol=0.015)


def test_em_keeps_uniform_data_uniform_and_weights_above_the_prior():
    prior = MixturePrior(4, 2, weights="em", weights_rate=1.0, weights_prior=0.2)
    params = prior.init(KEY)
    same = prior.match_weights(params, jnp.full(4, 0.25))
    np.testing.assert_allclose(same["log_weights"], params["log_weights"], rtol=1e-6)
    lowest = np.exp(prior.match_weights(params, jnp.asarray([1.0, 0.0, 0.0, 0.0]))["log_weights"])
    np.testing.assert_allclose(lowest, [1.05 / 1.2, *[0.05 / 1.2] * 3], rtol=1e-5)
    np.testing.assert_allclose(lowest.sum(), 1.0, rtol=1e-6)
