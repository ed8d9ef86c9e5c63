"""Priors of the latent space: the learnable Gaussian mixture (section 3.3), and the standard normal of AIM.

`GaussianMixture` is the distribution, arrays only. The two priors say which distribution the trainable parameters
theta_c stand for: with floor="clip" (the paper) one and the same everywhere; with floor="add" (the released code) one
for sampling, another for the membership and a third for L_p.
"""

import dataclasses
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

LOG_2PI = math.log(2.0 * math.pi)
PriorParams = dict[str, Float[ArrayLike, "K J"]]  # theta_c


class GaussianMixture(NamedTuple):
    """Mixture of K diagonal Gaussians in J dimensions, p(z) = sum_k phi_k N(z | mu_k, sigma_k^2)."""

    log_weights: Array  # log phi, [K]
    mean: Array  # mu, [K, J]
    log_var: Array  # log sigma^2, [K, J]

    @property
    def num_components(self) -> int:
        """K."""
        return self.mean.shape[-2]

    @property
    def latent_dim(self) -> int:
        """J."""
        return self.mean.shape[-1]

    def sample(self, y: Int[ArrayLike, " B"], eps: Float[ArrayLike, "B J"]) -> Float[Array, "B J"]:
        """Draws z given y by the reparameterization trick, mu_y + sigma_y eps with standard normal eps."""
        chex.assert_rank((y, eps), (1, 2))
        return self.mean[y] + jnp.exp(0.5 * self.log_var[y]) * eps

    def component_log_prob(self, z: Float[ArrayLike, "B J"]) -> Float[Array, "B K"]:
        """Log density of latents under every component, log N(z | mu_k, sigma_k^2), in nats."""
        chex.assert_shape(z, (None, self.latent_dim))
        distance = (z[:, None, :] - self.mean[None]) ** 2 * jnp.exp(-self.log_var)[None]
        return -0.5 * jnp.sum(distance + self.log_var[None] + LOG_2PI, axis=-1)

    def log_prob(self, z: Float[ArrayLike, "B J"]) -> Float[Array, " B"]:
        """Log density of latents under the mixture, log p(z), in nats."""
        return jax.nn.logsumexp(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)

    def typicality(self, z: Float[ArrayLike, "B J"]) -> Float[Array, " B"]:
        """Squared distance to the likeliest component in its deviations, averaged over J; about 1 inside it."""
        nearest = jnp.argmax(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)
        return jnp.mean((z - self.mean[nearest]) ** 2 * jnp.exp(-self.log_var[nearest]), axis=-1)


@dataclasses.dataclass(frozen=True)
class GaussianMixturePrior:
    """Learnable mixture with equal weights; theta_c = {"mean", "log_var"}, each [K, J].

    Attributes:
      sigma_min: lower bound of the standard deviations; the paper's threshold is 0.5.
      floor: "clip": sigma = max(exp(log_var / 2), sigma_min) everywhere (paper); "add": exp(log_var / 2) + sigma_min
        when sampling, variance exp(log_var) + sigma_min^2 in the membership, no floor in L_p (released code).
    """

    num_components: int
    latent_dim: int
    sigma_min: float = 0.5
    initial_log_var: float = 1.0
    floor: str = "clip"

    def init(self, key: PRNGKeyArray) -> PriorParams:
        """Draws orthogonal means (appendix C; Saxe et al., 2014) and sets equal variances."""
        shape = (self.num_components, self.latent_dim)
        mean = jax.nn.initializers.orthogonal()(key, shape)
        # With a type of its own: a weakly typed leaf would become a strong one in the first step, and compile it twice.
        return self.project({"mean": mean, "log_var": jnp.full(shape, self.initial_log_var, mean.dtype)})

    def project(self, params: PriorParams) -> PriorParams:
        """Moves variances that an update took below the floor of "clip", where gradients vanish, back onto it."""
        if self.floor == "add":
            return params
        return {**params, "log_var": self._clip(params["log_var"])}

    def sampling_mixture(self, params: PriorParams) -> GaussianMixture:
        """Returns the mixture that latents are drawn from, p(z | y)."""
        if self.floor == "clip":
            return self._mixture(params, self._clip(params["log_var"]))
        return self._mixture(params, 2.0 * jnp.log(jnp.exp(0.5 * params["log_var"]) + self.sigma_min))

    def membership_mixture(self, params: PriorParams) -> GaussianMixture:
        """Returns the mixture inside the membership q(y | z), Eq. 9."""
        if self.floor == "clip":
            return self._mixture(params, self._clip(params["log_var"]))
        return self._mixture(params, jnp.log(jnp.exp(params["log_var"]) + self.sigma_min**2))

    def entropy_mixture(self, params: PriorParams) -> GaussianMixture:
        """Returns the mixture inside L_p, Eq. 10."""
        log_var = params["log_var"]
        return self._mixture(params, self._clip(log_var) if self.floor == "clip" else log_var)

    def _clip(self, log_var: Float[ArrayLike, "K J"]) -> Float[Array, "K J"]:
        """max(log_var, log sigma_min^2), with the whole gradient on the floor; `jnp.maximum` has half of it there."""
        floor = 2.0 * math.log(self.sigma_min) if self.sigma_min > 0 else -math.inf
        return jnp.where(log_var < floor, floor, log_var)

    def _mixture(self, params: PriorParams, log_var: Float[ArrayLike, "K J"]) -> GaussianMixture:
        log_weights = jnp.full((self.num_components,), -math.log(self.num_components), params["mean"].dtype)
        return GaussianMixture(log_weights, params["mean"], log_var)


@dataclasses.dataclass(frozen=True)
class StandardNormalPrior:
    """N(0, I): one component and nothing to learn, theta_c = {}. The prior of AIM, the baseline of table 2."""

    latent_dim: int
    num_components: int = dataclasses.field(default=1, init=False)

    def init(self, key: PRNGKeyArray) -> PriorParams:
        """Returns {}."""
        del key
        return {}

    def project(self, params: PriorParams) -> PriorParams:
        """Returns {}."""
        return params

    def sampling_mixture(self, params: PriorParams) -> GaussianMixture:
        """Returns the standard normal as a mixture of one component."""
        del params
        zeros = jnp.zeros((1, self.latent_dim))
        return GaussianMixture(jnp.zeros((1,)), zeros, zeros)

    membership_mixture = sampling_mixture
    entropy_mixture = sampling_mixture


Prior = GaussianMixturePrior | StandardNormalPrior


class Latents(NamedTuple):
    """Draws behind a batch of latents; z = mu_y + sigma_y eps is computed with the prior of the moment."""

    y: Array  # components, integers, [..., B]
    eps: Array  # standard normal, [..., B, J]


def draw_latents(key: PRNGKeyArray, shape: tuple[int, ...], prior: Prior) -> Latents:
    """Draws y ~ p(y), uniform, of a shape, and eps ~ N(0, I) of (*shape, J)."""
    component_key, normal_key = jax.random.split(key)
    y = jax.random.randint(component_key, shape, 0, prior.num_components)
    return Latents(y, jax.random.normal(normal_key, (*shape, prior.latent_dim)))
