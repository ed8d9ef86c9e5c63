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
        self.floor = 2.0 * math.log(settings.sigma_min) if settings.sigma_min > 0 else -math.inf

    def clipped_log_var(self) -> torch.Tensor:
        """log sigma^2 of "clip". The gradient is 1 on the floor, where torch.maximum has 1/2, and 0 below it."""
        return self.log_var.clamp_min(self.floor)

    def sample(self, y: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
        """z = mu_y + sigma_y eps, [B, J], from y [B] and eps [B, J]."""
        sigma = (0.5 * self.clipped_log_var()).exp() if self.clip else (0.5 * self.log_var).exp() + self.sigma_min
        return torch.addcmul(functional.embedding(y, self.mean), functional.embedding(y, sigma), eps)

    def cross_entropy(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """L_c, Eqs. 8 and 9, nats, of z [B, J] and y [B]."""
        log_var = self.clipped_log_var() if self.clip else (self.log_var.exp() + self.sigma_min**2).log()
        distances = (z[:, None] - self.mean).square() * (-log_var).exp()
        return functional.cross_entropy(-0.5 * (distances + log_var).sum(2), y)

    def negative_entropy(self) -> torch.Tensor:
        """L_p, Eq. 10, nats, its second term over J."""
        log_var = self.clipped_log_var() if self.clip else self.log_var
        return -math.log(log_var.shape[0]) - 0.5 * (1.0 + LOG_2PI + log_var.mean())

    @torch.no_grad()
    def project(self) -> None:
        """Moves variances below the floor of "clip" back onto it."""
        if self.clip:
            self.log_var.clamp_min_(self.floor)


def gaussian_nll(z, mean, log_var, log_constant: float) -> torch.Tensor:
    """L_q, Eq. 7, nats; z, mean, log_var [B, J]."""
    return 0.5 * ((z - mean).square() * (-log_var).exp() + log_var + log_constant).sum(1).mean()
