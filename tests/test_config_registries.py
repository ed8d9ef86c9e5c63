"""The names that config.py allows, which is imported before what they name, are those there are."""

import dataclasses

import pytest

from mpcc_jax import config
from mpcc_jax.errors import ConfigError
from mpcc_jax.losses import ADVERSARIAL_LOSSES
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.networks.precision import PRECISIONS
from mpcc_jax.networks.rewrites import Rewrites


@pytest.mark.parametrize(
    ("names", "registry"),
    [("ADVERSARIAL", ADVERSARIAL_LOSSES), ("RESOLUTIONS", ARCHITECTURES), ("PRECISIONS", PRECISIONS)],
)
def test_allowed_names(names, registry):
    assert getattr(config, names) == tuple(registry)


def test_speed_has_the_fields_of_the_rewrites():
    assert config.default_config().speed.to_dict() == dataclasses.asdict(Rewrites())


def test_an_unknown_precision_is_refused():
    settings = config.default_config()
    settings.training.precision = "float16"
    with pytest.raises(ConfigError, match=r"training\.precision.*float16.*float32.*tf32.*bfloat16"):
        config.validate(settings)
