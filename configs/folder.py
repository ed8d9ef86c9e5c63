"""Your own pictures: a folder of PNG, JPEG, WebP or BMP files, with a subfolder per class or without.

python launch.py --config configs/folder.py --config.data.name=folder:PATH --workdir runs/mine
Not from the paper: the way of delivering (z, y) and the rates are those of CIFAR-10, the network a third as wide. Set
--config.model.num_clusters to the number of clusters you look for, and --config.model.channels=96 on a GPU.
"""

from mpcc_jax.config import default_config


def get_config():
    """Args: none. Returns the configuration."""
    config = default_config()
    config.data.name = "folder:"
    config.model.channels = 32
    config.model.latent_dim = 128
    config.model.conditioning = "split"
    config.training.prior_learning_rate = 6e-4
    config.training.iterations = 75_000
    return config
