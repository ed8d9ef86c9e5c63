"""The demo: the 1797 handwritten 8x8 digits of scikit-learn, on two CPU cores in minutes.

python launch.py --config configs/digits.py --workdir runs/digits
The paper has no such experiment. Network, steps, rates and length were chosen on seeds 10 to 13; the results in the
README are seeds 0 to 4. One discriminator and one encoder step per iteration, at twice the published rates, got further
on seed 10 in six minutes (0.85) than two of each at the published rates (0.80); four of each were not tried.
"""

from mpcc_jax.config import default_config


def get_config():
    """Args: none. Returns the configuration."""
    config = default_config()
    config.data.name = "digits"
    config.data.resolution = 8
    config.model.channels = 4
    config.model.latent_dim = 16
    config.training.discriminator_steps = 1
    config.training.encoder_steps = 1
    config.training.learning_rate = 4e-4
    config.training.prior_learning_rate = 3.2e-3
    config.training.iterations = 6000
    config.training.iterations_per_call = 50
    config.ema.decay = 0.999
    return config
