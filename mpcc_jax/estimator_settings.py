"""From the parameters of the scikit-learn estimator to a configuration."""

import difflib
import functools
import operator
import re
from collections.abc import Mapping

import numpy as np

from mpcc_jax.config import ConfigError, default_config, validate
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.workdir import flatten

# Parameters that are fields of the configuration.
FIELDS = {
    "variant": "variant",
    "resolution": "data.resolution",
    "n_clusters": "model.num_clusters",
    **{name: f"model.{name}" for name in ("channels", "latent_dim")},
    **{name: f"training.{name}" for name in ("iterations", "batch_size", "learning_rate", "prior_learning_rate")},
    **{name: f"training.{name}" for name in ("discriminator_steps", "encoder_steps")},
}
# What is not the package's default and no parameter: training as in `configs/digits.py`.
PRESETS = {"data.name": "arrays", "training.iterations_per_call": 50, "ema.decay": 0.999, "mesh.devices": 1}
# What the parameter `config` may hold: the other fields are about files, logs and devices.
CONFIGURABLE = (
    *("variant", "conventions.", "model.", "prior.", "loss.", "training.", "ema."),
    *("data.resolution", "data.crop_padding", "data.flip", "evaluation.statistics", "evaluation.standing_passes"),
)


def _assign(config, name, field, value):
    *parents, leaf = field.split(".")
    section = functools.reduce(operator.getitem, parents, config)
    try:
        if value is None and section[leaf] is not None:
            raise TypeError
        section[leaf] = value.item() if isinstance(value, np.generic) else value
    except TypeError:
        kind = section.get_type(leaf).__name__
        raise ConfigError(f"{name} is {value!r}; allowed: a value of type {kind}.") from None


def make_config(parameters, side):
    """The configuration that parameters of the estimator make.

    Args:
      parameters: of `MPCC`, by name.
      side: pixels, of the images' shorter side.

    Returns:
      The configuration, validated; without a seed.

    Raises:
      ConfigError: names the parameter that is wrong.
    """
    extra = parameters["config"]
    if not isinstance(extra, Mapping | None):
        raise ConfigError(f"config is {extra!r}; allowed: a dictionary of dotted names and values, or None.")
    config, extra = default_config(), dict(extra or {})
    fields = [field for field in flatten(config.to_dict()) if field.startswith(CONFIGURABLE)]
    for field in extra:
        if field not in fields:
            near = difflib.get_close_matches(str(field), fields, n=3, cutoff=0.0)
            raise ConfigError(
                f"config has {field!r}; allowed: fields of mpcc_jax.config under {', '.join(CONFIGURABLE)}; the "
                f"nearest are {', '.join(near)}."
            )
    for field, value in PRESETS.items():
        _assign(config, field, field, value)
    for name, field in FIELDS.items():
        if field not in extra and not (name == "resolution" and parameters[name] is None):
            _assign(config, name, field, parameters[name])
    if parameters["resolution"] is None:
        config.data.resolution = min((size for size in ARCHITECTURES if size >= side), default=max(ARCHITECTURES))
    for field, value in extra.items():
        _assign(config, f"config[{field!r}]", field, value)
    check_parameters(validate, extra, config)
    return config


def check_parameters(check, extra, *arguments):
    """Runs a check of the configuration; its errors name the parameters of the estimator.

    Args:
      check: the function.
      extra: fields that were given by their own names.
      *arguments: of the function.

    Raises:
      ConfigError: as the check does.
    """
    try:
        check(*arguments)
    except ConfigError as error:
        message = str(error)
        for name, field in FIELDS.items():
            if field not in extra:
                message = re.sub(rf"config\.{re.escape(field)}\b", name, message)
        raise ConfigError(message) from None
