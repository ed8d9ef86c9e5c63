"""Reading an experiment's configuration from its file, without the command line's flags."""

import importlib.util
import pathlib

from mpcc_jax.config import ConfigError


def load_config(path):
    """Reads an experiment's configuration.

    Args:
      path: of its file, which has a `get_config`.

    Returns:
      The configuration.

    Raises:
      ConfigError: if there is no such file.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ConfigError(f"the configuration {str(path)!r} is not a file; the experiments are in configs/.")
    spec = importlib.util.spec_from_file_location("experiment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
