"""Where the paper and the authors' released code differ, as one table of choices.

The numbers in the paper came from the released code, so both are wanted: `config.variant` picks a row, and every
field can be set alone through `config.conventions` to study what it does. The variant "extended" has the paper's
conventions and options that go beyond it.
"""

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Conventions:
    """The choices in which the paper and the released code differ.

    Attributes:
      upsampling: the generator's, "bilinear" or "nearest".
      log_constant: the constant inside L_q (Eq. 7), log 2 pi or log pi; moves the value, no gradient.
      sigma_floor: "clip": sigma = max(sigma, sigma_min) everywhere; "add": sigma + sigma_min when sampling,
        sigma^2 + sigma_min^2 in the membership, no floor in L_p.
      latent_gradient: whether the gradient of L_q reaches the prior through z at the first encoder step.
      prior_optimizers: "separate": Loss I moves the prior with rate eta and a state of its own, L_c + lambda_p L_p with
        eta_p; "shared": one Adam with eta_p for both.
      bias_init: of convolutions and linear layers, "zeros" or "uniform" (PyTorch's default).
    """

    upsampling: str
    log_constant: float
    sigma_floor: str
    latent_gradient: bool
    prior_optimizers: str
    bias_init: str


VARIANTS = {
    "paper": Conventions(
        upsampling="bilinear",
        log_constant=math.log(2.0 * math.pi),
        sigma_floor="clip",
        latent_gradient=False,
        prior_optimizers="separate",
        bias_init="zeros",
    ),
    "released": Conventions(
        upsampling="nearest",
        log_constant=math.log(math.pi),
        sigma_floor="add",
        latent_gradient=True,
        prior_optimizers="shared",
        bias_init="uniform",
    ),
}

VARIANTS["extended"] = VARIANTS["paper"]

# What a variant sets beside its conventions, where the configuration leaves it open.
OPTIONS = {
    "extended": {"training.warm_start": 0.25, "augmentation.probability": 0.5, "augmentation.where": "encoder"},
}

CHOICES = {
    "upsampling": ("bilinear", "nearest"),
    "sigma_floor": ("clip", "add"),
    "prior_optimizers": ("separate", "shared"),
    "bias_init": ("zeros", "uniform"),
}
