"""MNIST at 16x16, small enough for a CPU: all 70 000 images, about half an hour on two cores.

python launch.py --config configs/mnist16.py --workdir runs/mnist16
Not from the paper. The network is a third as wide as `configs/mnist.py`, with two encoder steps at twice its rates.
"""

from .mnist import get_config as mnist


def get_config():
    """Args: none. Returns the configuration."""
    config = mnist()
    config.data.resolution = 16
    config.model.channels = 4
    config.model.latent_dim = 16
    config.training.encoder_steps = 2
    config.training.learning_rate = 4e-4
    config.training.prior_learning_rate = 3.2e-3
    config.training.iterations = 5000
    config.training.iterations_per_call = 20
    config.ema.decay = 0.999
    return config
