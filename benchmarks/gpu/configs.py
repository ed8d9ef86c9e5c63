"""The configurations without ml_collections, which machines with a GPU may lack: read from a JSON file."""

import collections
import importlib
import json
import pathlib

PATH = pathlib.Path(__file__).parents[1] / "gpu_configs.json"
PRECISIONS = ("float32", "tf32", "bfloat16")

# Iterations in a compiled call: enough to hide its dispatch. Repeats make as many calls as fill their time.
Experiment = collections.namedtuple("Experiment", "image_channels iterations_per_call")
EXPERIMENTS = {
    "mnist": Experiment(1, 20),
    "cifar10": Experiment(3, 2),
    "fashion_mnist": Experiment(1, 10),
    "omniglot100": Experiment(1, 20),
}


class Config(dict):
    """A configuration: fields by item and by attribute; like `ml_collections.ConfigDict`, locked.

    Args:
      values: a dictionary, perhaps of dictionaries.
    """

    def __init__(self, values):
        super().__init__({name: Config(value) if isinstance(value, dict) else value for name, value in values.items()})

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the configuration has no field {name!r}; it has {', '.join(self)}.") from None

    def __setattr__(self, name, value):
        self[name] = value

    def __setitem__(self, name, value):
        if name not in self:
            raise KeyError(f"the configuration has no field {name!r}; it has {', '.join(self)}.")
        super().__setitem__(name, value)

    def update(self, values):
        """Args: values, a dictionary of fields that exist, perhaps of dictionaries. Sets them."""
        for name, value in values.items():
            if isinstance(value, dict):
                self[name].update(value)
            else:
                self[name] = value

    def copy(self):
        """Returns a copy that shares nothing."""
        return Config(self)


def published_configs():
    """The published configurations as dictionaries; needs ml_collections.

    Returns:
      Dictionaries by name.
    """
    return {name: importlib.import_module(f"configs.{name}").get_config().to_dict() for name in EXPERIMENTS}


def write_configs(path=PATH):
    """Writes `published_configs` for machines without ml_collections.

    Args:
      path: of the JSON file.
    """
    pathlib.Path(path).write_text(json.dumps(published_configs(), indent=1) + "\n")


def load_config(name, tiny=False):
    """Reads a configuration.

    Args:
      name: one of `EXPERIMENTS`.
      tiny: 8x8, few maps, two steps: what a CPU does in no time.

    Returns:
      A `Config`.
    """
    config = Config(json.loads(PATH.read_text())[name])
    config.mesh.devices = 1
    if tiny:
        config.data.resolution = 8
        config.model.update({"channels": 1, "latent_dim": 8, "num_clusters": 3})
        config.training.update({"batch_size": 8, "discriminator_steps": 2, "encoder_steps": 2})
    return config


def with_precision(config, precision):
    """The configuration in a precision.

    Args:
      config: the `Config`.
      precision: one of `PRECISIONS`.

    Returns:
      A copy.

    Raises:
      ConfigError: if mpcc_jax does not have that precision.
    """
    from mpcc_jax.config import validate

    config = config.copy()
    config.training.precision = precision
    validate(config)
    return config
