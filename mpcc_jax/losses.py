"""The losses of MPCC (section 3 of the paper), pure and unreduced: one value per example, the caller takes the mean.

  Loss I    generated images look real               f, g, h of Eq. 6   `ADVERSARIAL_LOSSES`
  Loss II   the encoder recovers the latents         L_q of Eq. 7       `gaussian_nll`
            and latents recover their component      L_c of Eqs. 8, 9   `membership_cross_entropy`, `log_membership`
  Loss III  the mixture keeps its entropy            L_p of Eq. 10      `prior_negative_entropy`

References:
  Astorga, Huijse, Protopapas, Estevez. MPCC: Matching Priors and Conditionals for Clustering. ECCV 2020.
"""

from collections.abc import Callable
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from mpcc_jax.prior import LOG_2PI, Mixture


def _check_logits(logits: ArrayLike) -> None:
    chex.assert_rank(logits, 1)
    chex.assert_type(logits, float)


def hinge_real(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Hinge loss on real images, max(0, 1 - logits) (f of Eq. 6; Lim and Ye. Geometric GAN. 2017)."""
    _check_logits(logits)
    return jax.nn.relu(1.0 - logits)


def hinge_fake(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Hinge loss on generated images, max(0, 1 + logits) (g of Eq. 6)."""
    _check_logits(logits)
    return jax.nn.relu(1.0 + logits)


def hinge_generator(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Hinge loss of the generator, -logits (h of Eq. 6)."""
    _check_logits(logits)
    return -logits


def non_saturating_real(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Non-saturating f and h, -log sigmoid(logits) (Goodfellow et al. Generative Adversarial Nets. NeurIPS 2014)."""
    _check_logits(logits)
    return jax.nn.softplus(-logits)


def non_saturating_fake(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Non-saturating g, -log(1 - sigmoid(logits))."""
    _check_logits(logits)
    return jax.nn.softplus(logits)


def wasserstein_real(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Wasserstein f and h, -logits; spectral normalisation bounds the slope (Arjovsky et al. Wasserstein GAN. 2017)."""
    _check_logits(logits)
    return -logits


def wasserstein_fake(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Wasserstein g, logits."""
    _check_logits(logits)
    return logits


def least_squares_real(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Least-squares f and h, (logits - 1)^2 / 2 (Mao et al. Least Squares GAN. ICCV 2017)."""
    _check_logits(logits)
    return 0.5 * (logits - 1.0) ** 2


def least_squares_fake(logits: Float[Array, " B"]) -> Float[Array, " B"]:
    """Least-squares g, logits^2 / 2."""
    _check_logits(logits)
    return 0.5 * logits**2


class AdversarialLoss(NamedTuple):
    """f, g and h of Eq. 6: functions of logits, [B] -> [B]."""

    real: Callable[[Array], Array]  # f: the discriminator on real images
    fake: Callable[[Array], Array]  # g: the discriminator on generated images
    generator: Callable[[Array], Array]  # h: the generator


ADVERSARIAL_LOSSES = {
    "hinge": AdversarialLoss(hinge_real, hinge_fake, hinge_generator),
    "non_saturating": AdversarialLoss(non_saturating_real, non_saturating_fake, non_saturating_real),
    "wasserstein": AdversarialLoss(wasserstein_real, wasserstein_fake, wasserstein_real),
    "least_squares": AdversarialLoss(least_squares_real, least_squares_fake, least_squares_real),
}


def gaussian_nll(
    z: Float[Array, "B J"], mean: Float[Array, "B J"], log_var: Float[Array, "B J"], log_constant: float = LOG_2PI
) -> Float[Array, " B"]:
    """Negative log-likelihood of latents under the encoder's Gaussian q(z | x), in nats (L_q, Eq. 7).

    The caller divides by dim(x). The released code has log pi as `log_constant`, which moves no gradient.
    """
    chex.assert_rank((z, mean, log_var), 2)
    chex.assert_equal_shape((z, mean, log_var))
    chex.assert_type((z, mean, log_var), float)
    squared_error = (z - mean) ** 2 * jnp.exp(-log_var)
    return 0.5 * jnp.sum(squared_error + log_var + log_constant, axis=-1)


def log_membership(z: Float[ArrayLike, "B J"], mixture: Mixture) -> Float[Array, "B K"]:
    """Log probability of each component given a latent, log q(y = k | z) (Eq. 9, by log-sum-exp)."""
    chex.assert_rank(z, 2)
    chex.assert_type(z, float)
    return jax.nn.log_softmax(mixture.log_weights[None, :] + mixture.component_log_prob(z), axis=-1)


def membership_cross_entropy(y: Int[Array, " B"], log_memberships: Float[Array, "B K"]) -> Float[Array, " B"]:
    """Cross-entropy, in nats, of the component that a latent was drawn from and its membership (L_c, Eq. 8)."""
    chex.assert_rank((y, log_memberships), (1, 2))
    chex.assert_type((y, log_memberships), (int, float))
    chex.assert_equal_shape_prefix((y, log_memberships), 1)
    return -jnp.take_along_axis(log_memberships, y[:, None], axis=-1)[:, 0]


def weights_score(log_weights: Float[Array, " K"], y: Int[Array, " B"], values: Float[Array, " B"]) -> Float[Array, ""]:
    """Is 0 and has the gradient of sum_k phi_k E[value | y = k] in phi: the score function, their mean as baseline.

    For y that are drawn systematically, as `mpcc_jax.prior.draw_latents` does: they spread the estimate a third as much
    as independent ones where components differ.
    """
    score = log_weights[y] - jax.lax.stop_gradient(log_weights[y])
    return jnp.mean(score * jax.lax.stop_gradient(values - jnp.mean(values)))


def prior_negative_entropy(mixture: Mixture, dimension_weight: float | None = None) -> Float[Array, ""]:
    """Negative entropy of y and of z given y under the prior, in nats (L_p, Eq. 10); the caller weighs it by lambda_p.

    sum_k phi_k [ log phi_k - dimension_weight * sum_j ( 1/2 + 1/2 log(2 pi sigma_kj^2) ) ]

    Args:
      dimension_weight: None is the paper's 1/J; 1.0 is the equation as it stands.
    """
    if dimension_weight is None:
        dimension_weight = 1.0 / mixture.latent_dim
    weights = jnp.exp(mixture.log_weights)
    return jnp.sum(weights * (mixture.log_weights - dimension_weight * mixture.component_entropy))
