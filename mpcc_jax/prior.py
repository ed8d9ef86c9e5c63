"""Priors of the latent space: learnable mixtures (section 3.3; Gaussian in the paper), and the standard normal of AIM.

`Mixture` is the distribution. The two priors say which distribution the trainable parameters theta_c stand for: with
floor="clip" (the paper) one and the same everywhere; with floor="add" (the released code) one for sampling, another for
the membership and a third for L_p.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

LOG_2PI = math.log(2.0 * math.pi)
PriorParams = dict[str, Float[ArrayLike, "K ..."]]  # theta_c
UNIFORM, EM, GRADIENT = "uniform", "em", "gradient"  # values of `config.prior.weights` beside numbers


class Family(NamedTuple):
    """One dimension of a component, mu + sigma t with t of mean 0 and variance 1; df is None but for Student's.

    Attributes:
      noise: normal draws that a dimension needs.
      draw: t from standard normal noise [..., noise * J] and df.
      log_prob: log density of z from z - mu, log sigma^2 and df, nats.
      entropy: from log sigma^2 and df, nats.
    """

    noise: int
    draw: Callable[[Array, Any], Array]
    log_prob: Callable[[Array, Array, Any], Array]
    entropy: Callable[[Array, Any], Array]


_LAPLACE, _LOGISTIC = math.sqrt(0.5), math.sqrt(3.0) / math.pi  # scales of variance 1


def _scaled(noise: int, draw: Callable, log_prob: Callable, entropy: Callable) -> Family:
    """A family from log density and entropy of t."""
    return Family(
        noise,
        draw,
        lambda difference, log_var, df: log_prob(difference * jnp.exp(-0.5 * log_var), df) - 0.5 * log_var,
        lambda log_var, df: entropy(df) + 0.5 * log_var,
    )


def _draw_laplace(eps: Array, df: None) -> Array:
    """The quantile function at Phi(eps), so that noise of 0 is the mean."""
    return -_LAPLACE * jnp.sign(eps) * (math.log(2.0) + jax.scipy.stats.norm.logcdf(-jnp.abs(eps)))


def _draw_logistic(eps: Array, df: None) -> Array:
    return _LOGISTIC * (jax.scipy.stats.norm.logcdf(eps) - jax.scipy.stats.norm.logcdf(-eps))


def _logistic_log_prob(t: Array, df: None) -> Array:
    size = jnp.abs(t) / _LOGISTIC
    return -size - 2.0 * jnp.log1p(jnp.exp(-size)) - math.log(_LOGISTIC)


def _draw_student(eps: Array, df: Array) -> Array:
    """A direction of the plane times a radius (Bailey, 1994): eps sqrt(expm1(r^2 / df) df / r^2) for normal pairs."""
    first, second = jnp.split(eps, 2, axis=-1)
    square = first**2 + second**2
    ratio = square / df
    safe = jnp.where(ratio > 1e-6, ratio, 1.0)
    stretch = jnp.where(ratio > 1e-6, jnp.expm1(safe) / safe, 1.0)
    return first * jnp.sqrt(stretch * (df - 2.0) / df)


def _student_log_prob(t: Array, df: Array) -> Array:
    half = 0.5 * (df + 1.0)
    constant = jax.lax.lgamma(half) - jax.lax.lgamma(0.5 * df) - 0.5 * jnp.log((df - 2.0) * math.pi)
    return constant - half * jnp.log1p(t**2 / (df - 2.0))


def _student_entropy(df: Array) -> Array:
    half = 0.5 * (df + 1.0)
    log_beta = jax.lax.lgamma(0.5 * df) + math.lgamma(0.5) - jax.lax.lgamma(half)
    return half * (jax.lax.digamma(half) - jax.lax.digamma(0.5 * df)) + 0.5 * jnp.log(df - 2.0) + log_beta


FAMILIES = {
    "gaussian": Family(
        1,
        lambda eps, df: eps,
        lambda difference, log_var, df: -0.5 * (difference**2 * jnp.exp(-log_var) + log_var + LOG_2PI),
        lambda log_var, df: 0.5 * (1.0 + LOG_2PI + log_var),
    ),
    "laplace": _scaled(
        1,
        _draw_laplace,
        lambda t, df: -jnp.abs(t) / _LAPLACE - math.log(2.0 * _LAPLACE),
        lambda df: 1.0 + math.log(2.0 * _LAPLACE),
    ),
    "logistic": _scaled(1, _draw_logistic, _logistic_log_prob, lambda df: 2.0 + math.log(_LOGISTIC)),
    "student_t": _scaled(2, _draw_student, _student_log_prob, _student_entropy),
}
# Gaussians whose dimensions are not independent, and one that is bent: see `Mixture.form`.
FULL, LOW_RANK, FLOW = "full", "low_rank", "flow"
FAMILIES |= dict.fromkeys((FULL, LOW_RANK, FLOW), FAMILIES["gaussian"])
FLOW_WIDTH = 16  # hidden units of a coupling


class Coupling(NamedTuple):
    """What one part of the dimensions adds to the other, at most a deviation: tanh(tanh(x inside + bias) outside)."""

    inside: Array  # [K, from, H]
    bias: Array  # [K, H]
    outside: Array  # [K, H, to]

    def of(self, y: Int[Array, " B"]) -> "Coupling":
        """The couplings of components, [B, ...]."""
        return jax.tree.map(lambda leaf: leaf[y], self)

    def __call__(self, x: Float[Array, "... N D"]) -> Float[Array, "... N F"]:
        """Maps x, whose axis N is that of the components."""
        bias = self.bias.reshape((1,) * (x.ndim - 2) + self.bias.shape)
        hidden = jnp.tanh(jnp.einsum("...nd,ndh->...nh", x, self.inside) + bias)
        return jnp.tanh(jnp.einsum("...nh,nhf->...nf", hidden, self.outside))


class Latents(NamedTuple):
    """Draws behind a batch of latents; z = mu_y + sigma_y t(eps) is computed with the prior of the moment."""

    y: Array  # components, integers, [..., B]; or uniform draws that the phi of the moment turns into components
    eps: Array  # standard normal, [..., B, N]; N is J, 2 J for Student's t, J + R of low rank


class Mixture(NamedTuple):
    """Mixture of K components, p(z) = sum_k phi_k p(z | mu_k, sigma_k).

    Attributes:
      family: one of `FAMILIES`; sigma is the standard deviation in each.
      df: degrees of freedom of Student's t, above 2, [K, J].
      form: of "full" what is below the diagonal of the Cholesky factor, [K, J, J]; of "low_rank" W [K, J, R], whose
        W W^T is added to the covariance; of "flow" two `Coupling`s. All in deviations: row j is multiplied by sigma_j.
    """

    log_weights: Array  # log phi, [K]
    mean: Array  # mu, [K, J]
    log_var: Array  # log sigma^2, [K, J]
    df: Array | None = None
    form: Any = None
    family: str = "gaussian"

    @property
    def num_components(self) -> int:
        """K."""
        return self.mean.shape[-2]

    @property
    def latent_dim(self) -> int:
        """J."""
        return self.mean.shape[-1]

    def components(self, y: Num[ArrayLike, " B"]) -> Int[Array, " B"]:
        """Turns uniform draws from 0 to 1 into components by phi; components stay what they are."""
        y = jnp.asarray(y)
        if jnp.issubdtype(y.dtype, jnp.integer):
            return y
        ends = jnp.cumsum(jnp.exp(self.log_weights))
        return jnp.minimum(jnp.searchsorted(ends, y, side="right"), self.num_components - 1)

    def draw(self, latents: Latents) -> tuple[Int[Array, " B"], Float[Array, "B J"]]:
        """Returns y and z of a batch."""
        y = self.components(latents.y)
        return y, self.sample(y, latents.eps)

    def sample(self, y: Int[ArrayLike, " B"], eps: Float[ArrayLike, "B N"]) -> Float[Array, "B J"]:
        """Draws z given y by the reparameterization trick, mu_y + sigma_y t(eps) with standard normal eps."""
        chex.assert_rank((y, eps), (1, 2))
        eps = jnp.asarray(eps)
        if self.form is None:
            t = FAMILIES[self.family].draw(eps, None if self.df is None else self.df[y])
        elif self.family == FLOW:
            to_second, to_first = (coupling.of(y) for coupling in self.form)
            first, second = jnp.split(eps, [self.latent_dim // 2], axis=-1)
            second += to_second(first)
            t = jnp.concatenate([first + to_first(second), second], axis=-1)
        else:
            # The last draws of "low_rank" are W's; those of "full" are all used twice.
            first, last = eps[:, : self.latent_dim], eps[:, -self.form.shape[-1] :]
            t = first + jnp.einsum("bjr,br->bj", self.form[y], last)
        return self.mean[y] + jnp.exp(0.5 * self.log_var[y]) * t

    def component_log_prob(self, z: Float[ArrayLike, "B J"]) -> Float[Array, "B K"]:
        """Log density of latents under every component, log p(z | mu_k, sigma_k), in nats."""
        chex.assert_shape(z, (None, self.latent_dim))
        difference = z[:, None, :] - self.mean[None]
        if self.form is not None:
            square = self._squared_distance(difference * jnp.exp(-0.5 * self.log_var[None]))
            return -0.5 * (square + self._log_det[None] + self.latent_dim * LOG_2PI)
        df = None if self.df is None else self.df[None]
        log_prob = FAMILIES[self.family].log_prob(difference, self.log_var[None], df)
        return jnp.sum(log_prob, axis=-1)

    @property
    def _capacitance(self) -> Array:
        """Cholesky factor of I + W^T W, [K, R, R]."""
        gram = jnp.einsum("kjr,kjs->krs", self.form, self.form)
        return jnp.linalg.cholesky(gram + jnp.eye(gram.shape[-1], dtype=gram.dtype)[None])

    @property
    def _log_det(self) -> Float[Array, " K"]:
        """Of the covariance of "full" or "low_rank"; a flow of couplings keeps volumes (Dinh et al. NICE. 2015)."""
        log_det = jnp.sum(self.log_var, axis=-1)
        if self.family != LOW_RANK:
            return log_det
        return log_det + 2.0 * jnp.sum(jnp.log(jnp.diagonal(self._capacitance, axis1=1, axis2=2)), axis=-1)

    def _squared_distance(self, t: Float[Array, "B K J"]) -> Float[Array, "B K"]:
        """Squared norm of the eps behind deviations: by L eps = t, Woodbury's identity, or the couplings backwards."""
        if self.family == FLOW:
            to_second, to_first = self.form
            first, second = jnp.split(t, [self.latent_dim // 2], axis=-1)
            first -= to_first(second)
            second -= to_second(first)
            return jnp.sum(first**2, axis=-1) + jnp.sum(second**2, axis=-1)
        solve = jax.vmap(
            lambda lower, right: jax.scipy.linalg.solve_triangular(lower, right.T, lower=True).T, (0, 1), 1
        )
        if self.family == FULL:
            identity = jnp.eye(self.latent_dim, dtype=t.dtype)
            return jnp.sum(solve(self.form + identity[None], t) ** 2, axis=-1)
        inside = solve(self._capacitance, jnp.einsum("bkj,kjr->bkr", t, self.form))
        return jnp.sum(t**2, axis=-1) - jnp.sum(inside**2, axis=-1)

    @property
    def marginal_log_var(self) -> Float[Array, "K J"]:
        """Log variance of each dimension alone; of a flow, before it bends, log sigma^2."""
        if self.family not in (FULL, LOW_RANK):
            return jnp.asarray(self.log_var)
        return self.log_var + jnp.log1p(jnp.sum(self.form**2, axis=-1))

    @property
    def component_entropy(self) -> Float[Array, " K"]:
        """Entropy of every component, in nats."""
        if self.form is not None:
            return 0.5 * (self._log_det + self.latent_dim * (1.0 + LOG_2PI))
        return jnp.sum(FAMILIES[self.family].entropy(self.log_var, self.df), axis=-1)

    def log_prob(self, z: Float[ArrayLike, "B J"]) -> Float[Array, " B"]:
        """Log density of latents under the mixture, log p(z), in nats."""
        return jax.nn.logsumexp(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)

    def typicality(self, z: Float[ArrayLike, "B J"]) -> Float[Array, " B"]:
        """Squared distance to the likeliest component in its deviations, averaged over J; about 1 inside it."""
        nearest = jnp.argmax(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)
        if self.form is not None:
            squares = self._squared_distance((z[:, None] - self.mean[None]) * jnp.exp(-0.5 * self.log_var[None]))
            return jnp.take_along_axis(squares, nearest[:, None], axis=-1)[:, 0] / self.latent_dim
        return jnp.mean((z - self.mean[nearest]) ** 2 * jnp.exp(-self.log_var[nearest]), axis=-1)


# The family is no array.
jax.tree_util.register_pytree_node(
    Mixture, lambda mixture: (mixture[:-1], mixture.family), lambda family, arrays: Mixture(*arrays, family)
)


@dataclasses.dataclass(frozen=True)
class MixturePrior:
    """Learnable mixture; theta_c = {"mean", "log_var"}, each [K, J], and what else is learnt: "excess", "log_weights".

    Attributes:
      family: one of `FAMILIES`.
      degrees_of_freedom: of Student's t, above 2; where they are learnt, the first ones, 2 + softplus(excess).
      rank: R of "low_rank".
      sigma_min: lower bound of the standard deviations; the paper's threshold is 0.5.
      weights: phi, "uniform", or K numbers with commas between; or how it is learnt, "em" (`match_weights`) or
        "gradient" (of Loss I alone).
      weights_rate: alpha of `match_weights`.
      weights_prior: c of `match_weights`, which keeps phi_k above c / (1 + c) / K; or the weight of -log phi in a loss.
      floor: "clip": sigma = max(exp(log_var / 2), sigma_min) everywhere (paper); "add": exp(log_var / 2) + sigma_min
        when sampling, variance exp(log_var) + sigma_min^2 in the membership, no floor in L_p (released code).
    """

    num_components: int
    latent_dim: int
    sigma_min: float = 0.5
    initial_log_var: float = 1.0
    floor: str = "clip"
    family: str = "gaussian"
    degrees_of_freedom: float = 5.0
    learn_degrees_of_freedom: bool = False
    rank: int = 4
    weights: str = UNIFORM
    weights_rate: float = 0.01
    weights_prior: float = 0.02

    @property
    def learns_weights(self) -> bool:
        """Whether phi is a part of theta_c."""
        return self.weights in (EM, GRADIENT)

    @property
    def noise_dim(self) -> int:
        """Normal draws behind a latent."""
        return FAMILIES[self.family].noise * self.latent_dim + (self.rank if self.family == LOW_RANK else 0)

    def init(self, key: PRNGKeyArray) -> PriorParams:
        """Draws orthogonal means (appendix C; Saxe et al., 2014) and sets equal variances."""
        shape = (self.num_components, self.latent_dim)
        mean = jax.nn.initializers.orthogonal()(key, shape)
        # With a type of its own: a weakly typed leaf would become a strong one in the first step, and compile it twice.
        params = {"mean": mean, "log_var": jnp.full(shape, self.initial_log_var, mean.dtype)}
        if self.family == "student_t" and self.learn_degrees_of_freedom:
            params["excess"] = jnp.full(shape, math.log(math.expm1(self.degrees_of_freedom - 2.0)), mean.dtype)
        if self.family == FULL:
            params["factor"] = jnp.zeros((*shape, self.latent_dim), mean.dtype)
        if self.family == LOW_RANK:  # at 0 it has no gradient
            params["factor"] = 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (*shape, self.rank), mean.dtype)
        if self.family == FLOW:  # the identity, by "outside"
            half, rest = self.latent_dim // 2, self.latent_dim - self.latent_dim // 2
            for i, (name, of, to) in enumerate((("first", rest, half), ("second", half, rest))):
                draws = jax.random.normal(jax.random.fold_in(key, i), (shape[0], of, FLOW_WIDTH), mean.dtype)
                params[f"inside_{name}"] = draws * of**-0.5
                params[f"bias_{name}"] = jnp.zeros((shape[0], FLOW_WIDTH), mean.dtype)
                params[f"outside_{name}"] = jnp.zeros((shape[0], FLOW_WIDTH, to), mean.dtype)
        if self.learns_weights:
            params["log_weights"] = jnp.full((self.num_components,), -math.log(self.num_components), mean.dtype)
        return self.project(params)

    def log_weights(self, params: PriorParams) -> Float[Array, " K"]:
        """Returns log phi; where it is learnt, as a function of theta_c."""
        if self.learns_weights:
            return jax.nn.log_softmax(params["log_weights"])
        if self.weights == UNIFORM:
            return jnp.full((self.num_components,), -math.log(self.num_components), params["mean"].dtype)
        given = jnp.asarray([float(part) for part in self.weights.split(",")], params["mean"].dtype)
        return jax.nn.log_softmax(jnp.log(given))

    def match_weights(self, params: PriorParams, memberships: Float[Array, " K"]) -> PriorParams:
        """Moves phi towards mean q(y | x) of real images: phi <- (1 - a) phi + a (q + c / K) / (1 + c).

        A step of EM for the weights of fixed components: the likelihood is concave in phi.

        References:
          Saerens, Latinne and Decaestecker. Adjusting the Outputs of a Classifier to New a Priori Probabilities. Neural
          Computation 14, 2002.
        """
        weights, c = jnp.exp(self.log_weights(params)), self.weights_prior
        matched = (memberships + c / self.num_components) / (1.0 + c)
        return {**params, "log_weights": jnp.log((1.0 - self.weights_rate) * weights + self.weights_rate * matched)}

    def project(self, params: PriorParams) -> PriorParams:
        """Moves variances that an update took below the floor of "clip", where gradients vanish, back onto it."""
        if self.floor == "add":
            return params
        return {**params, "log_var": self._clip(params["log_var"])}

    def sampling_mixture(self, params: PriorParams) -> Mixture:
        """Returns the mixture that latents are drawn from, p(z | y)."""
        if self.floor == "clip":
            return self._mixture(params, self._clip(params["log_var"]))
        return self._mixture(params, 2.0 * jnp.log(jnp.exp(0.5 * params["log_var"]) + self.sigma_min))

    def membership_mixture(self, params: PriorParams) -> Mixture:
        """Returns the mixture inside the membership q(y | z), Eq. 9."""
        if self.floor == "clip":
            return self._mixture(params, self._clip(params["log_var"]))
        return self._mixture(params, jnp.log(jnp.exp(params["log_var"]) + self.sigma_min**2))

    def entropy_mixture(self, params: PriorParams) -> Mixture:
        """Returns the mixture inside L_p, Eq. 10."""
        log_var = params["log_var"]
        return self._mixture(params, self._clip(log_var) if self.floor == "clip" else log_var)

    def _clip(self, log_var: Float[ArrayLike, "K J"]) -> Float[Array, "K J"]:
        """max(log_var, log sigma_min^2), with the whole gradient on the floor; `jnp.maximum` has half of it there."""
        floor = 2.0 * math.log(self.sigma_min) if self.sigma_min > 0 else -math.inf
        return jnp.where(log_var < floor, floor, log_var)

    def _mixture(self, params: PriorParams, log_var: Float[ArrayLike, "K J"]) -> Mixture:
        # L_c would take weight from components that overlap: phi learns elsewhere.
        log_weights, df = jax.lax.stop_gradient(self.log_weights(params)), None
        if "excess" in params:
            df = 2.0 + jax.nn.softplus(params["excess"])
        elif self.family == "student_t":
            df = jnp.full_like(params["mean"], self.degrees_of_freedom)
        form = params.get("factor")
        if self.family == FULL:
            form = jnp.tril(form, -1)
        if self.family == FLOW:
            form = tuple(
                Coupling(*(params[f"{part}_{name}"] for part in Coupling._fields)) for name in ("second", "first")
            )
        return Mixture(log_weights, params["mean"], log_var, df, form, self.family)


# The paper's, the default of `family`.
GaussianMixture, GaussianMixturePrior = Mixture, MixturePrior


@dataclasses.dataclass(frozen=True)
class StandardNormalPrior:
    """N(0, I): one component and nothing to learn, theta_c = {}. The prior of AIM, the baseline of table 2."""

    latent_dim: int
    num_components: int = dataclasses.field(default=1, init=False)
    weights: str = dataclasses.field(default=UNIFORM, init=False)
    learns_weights: bool = dataclasses.field(default=False, init=False)

    @property
    def noise_dim(self) -> int:
        """Normal draws behind a latent."""
        return self.latent_dim

    def init(self, key: PRNGKeyArray) -> PriorParams:
        """Returns {}."""
        del key
        return {}

    def project(self, params: PriorParams) -> PriorParams:
        """Returns {}."""
        return params

    def sampling_mixture(self, params: PriorParams) -> Mixture:
        """Returns the standard normal as a mixture of one component."""
        del params
        zeros = jnp.zeros((1, self.latent_dim))
        return Mixture(jnp.zeros((1,)), zeros, zeros)

    membership_mixture = sampling_mixture
    entropy_mixture = sampling_mixture


Prior = MixturePrior | StandardNormalPrior


def draw_latents(key: PRNGKeyArray, shape: tuple[int, ...], prior: Prior) -> Latents:
    """Draws y ~ p(y) of a shape, and eps ~ N(0, I) of (*shape, N).

    Unless phi is uniform y are systematic draws, one in each of B equal parts of [0, 1): a component gets B phi_k of a
    batch, rounded up or down.
    """
    component_key, normal_key = jax.random.split(key)
    if prior.weights == UNIFORM:
        y = jax.random.randint(component_key, shape, 0, prior.num_components)
    else:
        starts = jax.random.uniform(component_key, (*shape[:-1], 1))
        y = (jnp.arange(shape[-1]).reshape((1,) * (len(shape) - 1) + (-1,)) + starts) / shape[-1]
    return Latents(y, jax.random.normal(normal_key, (*shape, prior.noise_dim)))
