"""The demo: the 1797 handwritten 8x8 digits of scikit-learn, on a CPU in minutes."""

from mpcc_jax.config import default_config


def get_config():
    """Args: none. Returns the configuration."""
    config = default_config()
    config.data.name = "digits"
    config.data.resolution = 8
    config.model.channels = 4
    config.training.discriminator_steps = 1
    config.training.encoder_steps = 1
    config.training.learning_rate = 4e-4
    config.training.prior_learning_rate = 3.2e-3
    config.training.iterations = 8000
    config.training.iterations_per_call = 50
    config.ema.decay = 0.999
    return config
