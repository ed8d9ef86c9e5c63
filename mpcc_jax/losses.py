"""The losses of MPCC, equation by equation (section 3 of the paper).

The paper minimises the reverse Kullback-Leibler divergence between a generative model p(x, z, y) and an inference
model q(x, z, y), which splits (Eq. 5) into

  Loss I    the generator's images should look real       f, g, h of Eq. 6     `ADVERSARIAL_LOSSES`
  Loss II   the encoder should recover the latents        L_q of Eq. 7         `gaussian_nll`
            and the latents their component               L_c of Eqs. 8 and 9  `log_membership`,
                                                                               `membership_cross_entropy`
  Loss III  the mixture should keep its entropy           L_p of Eq. 10        `prior_negative_entropy`

Every function is pure and unreduced: one value per example, the caller takes the mean. The weights of the paper
(L_q over dim(x), the second term of L_p over J, L_p times lambda_p) belong to the caller too, and are arguments where
they fall inside an equation.

References:
  Astorga, Huijse, Protopapas, Estevez. MPCC: Matching Priors and Conditionals for Clustering. ECCV 2020.
"""

import chex
import jax
import jax.numpy as jnp

from mpcc_jax.prior import LOG_2PI, GaussianMixture


def _check_logits(logits):
    chex.assert_rank(logits, 1)
    chex.assert_type(logits, float)


def hinge_real(logits):
    """Hinge loss of the discriminator on real images (f of Eq. 6): max(0, 1 - logits).

    Args:
      logits: discriminator outputs on real images, [B].

    Returns:
      Loss per example, [B].

    Raises:
      AssertionError: if `logits` is not a floating-point vector.

    References:
      Lim and Ye. Geometric GAN. 2017.
    """
    _check_logits(logits)
    return jax.nn.relu(1.0 - logits)


def hinge_fake(logits):
    """Hinge loss of the discriminator on generated images (g of Eq. 6): max(0, 1 + logits).

    Args:
      logits: discriminator outputs on generated images, [B].

    Returns:
      Loss per example, [B].

    Raises:
      AssertionError: if `logits` is not a floating-point vector.
    """
    _check_logits(logits)
    return jax.nn.relu(1.0 + logits)


def hinge_generator(logits):
    """Hinge loss of the generator (h of Eq. 6): -logits.

    Args:
      logits: discriminator outputs on generated images, [B].

    Returns:
      Loss per example, [B].

    Raises:
      AssertionError: if `logits` is not a floating-point vector.
    """
    _check_logits(logits)
    return -logits


def non_saturating_real(logits):
    """Non-saturating f: the cross-entropy -log sigmoid(logits) of "real" on real images.

    Args:
      logits: discriminator outputs on real images, [B].

    Returns:
      Nats per example, [B].

    References:
      Goodfellow et al. Generative Adversarial Nets. NeurIPS 2014.
    """
    _check_logits(logits)
    return jax.nn.softplus(-logits)


def non_saturating_fake(logits):
    """Non-saturating g: the cross-entropy -log(1 - sigmoid(logits)) of "fake" on generated images.

    Args:
      logits: discriminator outputs on generated images, [B].

    Returns:
      Nats per example, [B].
    """
    _check_logits(logits)
    return jax.nn.softplus(logits)


def non_saturating_generator(logits):
    """Non-saturating h: -log sigmoid(logits) on generated images.

    Args:
      logits: discriminator outputs on generated images, [B].

    Returns:
      Nats per example, [B].
    """
    _check_logits(logits)
    return jax.nn.softplus(-logits)


def wasserstein_real(logits):
    """Wasserstein f: -logits on real images; the Lipschitz bound comes from the spectral normalisation.

    Args:
      logits: critic outputs on real images, [B].

    Returns:
      Loss per example, [B].

    References:
      Arjovsky, Chintala, Bottou. Wasserstein Generative Adversarial Networks. ICML 2017.
    """
    _check_logits(logits)
    return -logits


def wasserstein_fake(logits):
    """Wasserstein g: logits on generated images.

    Args:
      logits: critic outputs on generated images, [B].

    Returns:
      Loss per example, [B].
    """
    _check_logits(logits)
    return logits


def least_squares_real(logits):
    """Least-squares f: (logits - 1)^2 / 2 on real images.

    Args:
      logits: discriminator outputs on real images, [B].

    Returns:
      Loss per example, [B].

    References:
      Mao et al. Least Squares Generative Adversarial Networks. ICCV 2017.
    """
    _check_logits(logits)
    return 0.5 * (logits - 1.0) ** 2


def least_squares_fake(logits):
    """Least-squares g: logits^2 / 2 on generated images.

    Args:
      logits: discriminator outputs on generated images, [B].

    Returns:
      Loss per example, [B].
    """
    _check_logits(logits)
    return 0.5 * logits**2


# The triples (f, g, h) of Eq. 6: the discriminator on real and on generated images, and the generator.
ADVERSARIAL_LOSSES = {
    "hinge": (hinge_real, hinge_fake, hinge_generator),
    "non_saturating": (non_saturating_real, non_saturating_fake, non_saturating_generator),
    "wasserstein": (wasserstein_real, wasserstein_fake, wasserstein_real),
    "least_squares": (least_squares_real, least_squares_fake, least_squares_real),
}


def gaussian_nll(z, mean, log_var, log_constant=LOG_2PI):
    """Negative log-likelihood of latents under the encoder's diagonal Gaussian (L_q, Eq. 7).

    Args:
      z: latents, [B, J].
      mean: means of q(z given x), [B, J].
      log_var: log variances of q(z given x), [B, J].
      log_constant: log 2 pi; the released code has log pi, which moves the value and no gradient.

    Returns:
      Nats per example, [B]. The caller averages and divides by dim(x).

    Raises:
      AssertionError: if the three arrays are not floating-point matrices of one shape.
    """
    chex.assert_rank((z, mean, log_var), 2)
    chex.assert_equal_shape((z, mean, log_var))
    chex.assert_type((z, mean, log_var), float)
    squared_error = (z - mean) ** 2 * jnp.exp(-log_var)
    return 0.5 * jnp.sum(squared_error + log_var + log_constant, axis=-1)


def log_membership(z, mixture: GaussianMixture):
    """Log membership of latents to the components, log q(y = k given z) (Eq. 9, by log-sum-exp).

    Args:
      z: latents, [B, J].
      mixture: the Gaussian mixture with K components in J dimensions; its log weights enter, so unequal weights are
        right too (the paper's are 1/K and cancel).

    Returns:
      Log probabilities (nats) that sum to one over the components, [B, K].

    Raises:
      AssertionError: if `z` is not a floating-point matrix with the mixture's J columns.
    """
    chex.assert_rank(z, 2)
    chex.assert_type(z, float)
    return jax.nn.log_softmax(mixture.log_weights[None, :] + mixture.component_log_prob(z), axis=-1)


def membership_cross_entropy(labels, log_memberships):
    """Cross-entropy of the drawn component and the membership of its latent (L_c, Eq. 8).

    Args:
      labels: the component y that each latent was drawn from, integers in [0, K), [B].
      log_memberships: log q(y = k given z) from `log_membership`, [B, K].

    Returns:
      Nats per example, [B].

    Raises:
      AssertionError: if the shapes do not fit or `labels` are not integers.
    """
    chex.assert_rank((labels, log_memberships), (1, 2))
    chex.assert_type((labels, log_memberships), (int, float))
    chex.assert_equal_shape_prefix((labels, log_memberships), 1)
    return -jnp.take_along_axis(log_memberships, labels[:, None], axis=-1)[:, 0]


def prior_negative_entropy(mixture: GaussianMixture, dimension_weight=None):
    """Negative entropy of y and of z given y under the prior (L_p, Eq. 10).

    sum_k phi_k [ log phi_k - dimension_weight * sum_j ( 1/2 + 1/2 log(2 pi sigma_kj^2) ) ]

    Args:
      mixture: the Gaussian mixture with K components in J dimensions.
      dimension_weight: weight of the second term; None is the paper's 1/J ("the second term of Eq. 10 by one over
        the dimensionality of the latent variables"), 1.0 is the equation as it stands.

    Returns:
      Nats, a scalar. The caller multiplies by lambda_p.
    """
    if dimension_weight is None:
        dimension_weight = 1.0 / mixture.latent_dim
    component_entropy = 0.5 * jnp.sum(1.0 + LOG_2PI + mixture.log_var, axis=-1)
    weights = jnp.exp(mixture.log_weights)
    return jnp.sum(weights * (mixture.log_weights - dimension_weight * component_entropy))
