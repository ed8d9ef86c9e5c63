"""The learnable Gaussian mixture and the losses on it, with the conventions of the paper and of the released code."""

import math

import torch
from torch import nn
from torch.nn import functional

LOG_2PI = math.log(2.0 * math.pi)


class Mixture(nn.Module):
    """K diagonal Gaussians in J dimensions with equal weights, theta_c.

    "clip": sigma = max(exp(log_var / 2), sigma_min) everywhere. "add": exp(log_var / 2) + sigma_min when sampling,
    exp(log_var) + sigma_min^2 in the membership, no floor in L_p.
    """

    def __init__(self, settings):
        super().__init__()
        shape = (settings.num_clusters, settings.latent_dim)
        self.clip, self.sigma_min = settings.sigma_floor == "clip", settings.sigma_min
        self.mean = nn.Parameter(torch.zeros(shape))
        self.log_var = nn.Parameter(torch.full(shape, settings.initial_log_var))
        floor = 2.0 * math.log(settings.sigma_min) if self.clip and settings.sigma_min > 0 else -math.inf
        self.register_buffer("floor", torch.tensor(floor, dtype=torch.float64))

    def _clipped(self):
        # torch.maximum halves the gradient on the floor itself, as jax.numpy.maximum does; clamp would not.
        return torch.maximum(self.log_var, self.floor.to(self.log_var.dtype))

    def sample(self, y, eps):
        """z = mu_y + sigma_y eps. Args: y [B]; eps [B, J]. Returns [B, J]."""
        sigma = (0.5 * self._clipped()).exp() if self.clip else (0.5 * self.log_var).exp() + self.sigma_min
        return torch.addcmul(functional.embedding(y, self.mean), functional.embedding(y, sigma), eps)

    def cross_entropy(self, z, y):
        """L_c, Eqs. 8 and 9. Args: z [B, J]; y [B]. Returns nats, a scalar."""
        log_var = self._clipped() if self.clip else (self.log_var.exp() + self.sigma_min**2).log()
        distances = (z[:, None] - self.mean).square() * (-log_var).exp()
        return functional.cross_entropy(-0.5 * (distances + log_var).sum(2), y)

    def negative_entropy(self):
        """L_p, Eq. 10, its second term over J. Returns nats, a scalar."""
        log_var = self._clipped() if self.clip else self.log_var
        return -math.log(log_var.shape[0]) - 0.5 * (1.0 + LOG_2PI + log_var.mean())

    @torch.no_grad()
    def project(self):
        """Moves variances below the floor of "clip" back onto it."""
        if self.clip:
            self.log_var.copy_(self._clipped())


def gaussian_nll(z, mean, log_var, log_constant):
    """L_q, Eq. 7. Args: z, mean, log_var [B, J]; log_constant. Returns nats, a scalar."""
    return 0.5 * ((z - mean).square() * (-log_var).exp() + log_var + log_constant).sum(1).mean()
