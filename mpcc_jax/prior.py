"""Priors of the latent space: a learnable Gaussian mixture (section 3.3), and the standard normal of AIM.

`GaussianMixture` is the distribution itself, arrays only. `GaussianMixturePrior` and `StandardNormalPrior` say which
distribution the trainable parameters theta_c stand for: with floor="clip" (the paper) one and the same everywhere;
with floor="add" (the released code) one for sampling, another for the membership and a third for L_p.
"""

import dataclasses
from typing import NamedTuple

import chex
import flax
import jax
import jax.numpy as jnp
import numpy as np

LOG_2PI = float(np.log(2.0 * np.pi))


@flax.struct.dataclass
class GaussianMixture:
    """Mixture of K diagonal Gaussians in J dimensions, p(z) = sum_k phi_k N(mu_k, sigma_k^2).

    Attributes:
      log_weights: log phi, nats, [K].
      mean: mu, [K, J].
      log_var: log sigma^2, [K, J].
    """

    log_weights: jax.Array
    mean: jax.Array
    log_var: jax.Array

    @property
    def num_components(self):
        """K."""
        return self.mean.shape[-2]

    @property
    def latent_dim(self):
        """J."""
        return self.mean.shape[-1]

    def sample(self, y, eps):
        """Draws z given y by the reparameterization trick: z = mu_y + sigma_y * eps.

        Args:
          y: component of each latent, integers in [0, K), [B].
          eps: standard normal noise, [B, J].

        Returns:
          Latents, [B, J].
        """
        chex.assert_rank((y, eps), (1, 2))
        return self.mean[y] + jnp.exp(0.5 * self.log_var[y]) * eps

    def component_log_prob(self, z):
        """Log density of latents under every component, log N(z | mu_k, sigma_k^2).

        Args:
          z: latents, [B, J].

        Returns:
          Nats, [B, K].
        """
        chex.assert_shape(z, (None, self.latent_dim))
        distance = (z[:, None, :] - self.mean[None]) ** 2 * jnp.exp(-self.log_var)[None]
        return -0.5 * jnp.sum(distance + self.log_var[None] + LOG_2PI, axis=-1)

    def log_prob(self, z):
        """Log density of latents under the mixture, log p(z).

        Args:
          z: latents, [B, J].

        Returns:
          Nats, [B].
        """
        return jax.nn.logsumexp(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)

    def typicality(self, z):
        """Squared distance to the likeliest component in its standard deviations, averaged over J; about 1 inside it.

        Args:
          z: latents, [B, J].

        Returns:
          Dimensionless, [B].
        """
        nearest = jnp.argmax(self.log_weights[None, :] + self.component_log_prob(z), axis=-1)
        return jnp.mean((z - self.mean[nearest]) ** 2 * jnp.exp(-self.log_var[nearest]), axis=-1)


def orthogonal_rows(key, num_rows, num_columns):
    """Matrix with orthonormal rows; for more rows than columns, with orthonormal columns (Saxe et al., 2014).

    Args:
      key: PRNG key.
      num_rows: K.
      num_columns: J.

    Returns:
      [K, J].
    """
    return jax.nn.initializers.orthogonal()(key, (num_rows, num_columns))


def _log_floor(sigma_min):
    return 2.0 * float(np.log(sigma_min)) if sigma_min > 0 else -np.inf


@dataclasses.dataclass(frozen=True)
class GaussianMixturePrior:
    """Learnable mixture with equal weights; theta_c = {"mean", "log_var"}, each [K, J].

    Attributes:
      num_components: K.
      latent_dim: J.
      sigma_min: lower bound of the standard deviations; the paper's threshold is 0.5.
      initial_log_var: log sigma^2 at the start.
      floor: "clip": sigma = max(exp(log_var / 2), sigma_min) everywhere (paper); "add": exp(log_var / 2) + sigma_min
        when sampling, variance exp(log_var) + sigma_min^2 in the membership, no floor in L_p (released code).
    """

    num_components: int
    latent_dim: int
    sigma_min: float = 0.5
    initial_log_var: float = 1.0
    floor: str = "clip"

    def init(self, key):
        """Initial theta_c: orthogonal means (appendix C) and equal variances.

        Args:
          key: PRNG key.

        Returns:
          {"mean": [K, J], "log_var": [K, J]}.
        """
        shape = (self.num_components, self.latent_dim)
        mean = orthogonal_rows(key, *shape)
        # With a type of its own: a weakly typed leaf would become a strong one in the first step, and compile it twice.
        params = {"mean": mean, "log_var": jnp.full(shape, self.initial_log_var, mean.dtype)}
        return self.project(params)

    def project(self, params):
        """Moves variances that an update took below the floor back onto it.

        Below the floor of "clip" the gradient of sigma is zero, so that a component that went there could never come
        back; on it, L_p can still lift it.

        Args:
          params: theta_c.

        Returns:
          theta_c.
        """
        if self.floor == "add":
            return params
        return {**params, "log_var": jnp.maximum(params["log_var"], _log_floor(self.sigma_min))}

    def _mixture(self, params, log_var):
        weights = jnp.full((self.num_components,), -np.log(self.num_components), params["mean"].dtype)
        return GaussianMixture(log_weights=weights, mean=params["mean"], log_var=log_var)

    def _clipped(self, params):
        return self._mixture(params, jnp.maximum(params["log_var"], _log_floor(self.sigma_min)))

    def sampling_mixture(self, params):
        """The mixture that latents are drawn from, p(z given y).

        Args:
          params: theta_c.

        Returns:
          A `GaussianMixture`.
        """
        if self.floor == "clip":
            return self._clipped(params)
        return self._mixture(params, 2.0 * jnp.log(jnp.exp(0.5 * params["log_var"]) + self.sigma_min))

    def membership_mixture(self, params):
        """The mixture inside the membership q(y given z), Eq. 9.

        Args:
          params: theta_c.

        Returns:
          A `GaussianMixture`.
        """
        if self.floor == "clip":
            return self._clipped(params)
        return self._mixture(params, jnp.log(jnp.exp(params["log_var"]) + self.sigma_min**2))

    def entropy_mixture(self, params):
        """The mixture inside L_p, Eq. 10.

        Args:
          params: theta_c.

        Returns:
          A `GaussianMixture`.
        """
        return self._clipped(params) if self.floor == "clip" else self._mixture(params, params["log_var"])


@dataclasses.dataclass(frozen=True)
class StandardNormalPrior:
    """N(0, I) with nothing to learn and a single component: the prior of AIM, the baseline of table 2.

    Attributes:
      latent_dim: J.
    """

    latent_dim: int
    num_components: int = dataclasses.field(default=1, init=False)

    def init(self, key):
        """Empty theta_c.

        Args:
          key: PRNG key, not used.

        Returns:
          {}.
        """
        del key
        return {}

    def project(self, params):
        """Nothing to bound.

        Args:
          params: {}.

        Returns:
          {}.
        """
        return params

    def sampling_mixture(self, params):
        """The standard normal as a mixture of one component.

        Args:
          params: {}.

        Returns:
          A `GaussianMixture` with K = 1.
        """
        del params
        zeros = jnp.zeros((1, self.latent_dim))
        return GaussianMixture(log_weights=jnp.zeros((1,)), mean=zeros, log_var=zeros)

    membership_mixture = sampling_mixture
    entropy_mixture = sampling_mixture


class Latents(NamedTuple):
    """Draws behind a batch of latents; z = mu_y + sigma_y eps is computed with the prior of the moment.

    Attributes:
      y: components, integers, [..., B].
      eps: standard normal, [..., B, J].
    """

    y: chex.Array
    eps: chex.Array


def draw_latents(key, shape, prior):
    """Draws y ~ p(y), uniform, and eps ~ N(0, I).

    Args:
      key: PRNG key.
      shape: leading shape.
      prior: says K and J.

    Returns:
      `Latents` with y of `shape` and eps of (*shape, J).
    """
    component_key, normal_key = jax.random.split(key)
    y = jax.random.randint(component_key, shape, 0, prior.num_components)
    return Latents(y, jax.random.normal(normal_key, (*shape, prior.latent_dim)))
