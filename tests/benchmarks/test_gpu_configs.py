"""The configurations that the GPU suite reads are those of configs/, and work as those do."""

import json

import pytest

from benchmarks.compare import peer_settings
from benchmarks.flops import count_iteration
from benchmarks.gpu.configs import (
    EXPERIMENTS,
    PATH,
    Config,
    load_config,
    published_configs,
    with_precision,
    write_configs,
)
from benchmarks.iteration import load_config as load_published
from mpcc_jax.config import validate
from mpcc_jax.errors import ConfigError
from tests.conftest import ROOT


def test_the_file_is_what_the_configurations_give():
    """If not: python -m benchmarks.gpu_suite --write_configs benchmarks/gpu_configs.json."""
    assert json.loads(PATH.read_text()) == json.loads(json.dumps(published_configs()))


def test_the_file_is_written(tmp_path):
    write_configs(tmp_path / "configs.json")
    assert (tmp_path / "configs.json").read_text() == PATH.read_text()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_configuration_serves_as_the_published_one(name):
    config, published = load_config(name), load_published(ROOT / "configs" / f"{name}.py")
    validate(config)
    channels = EXPERIMENTS[name].image_channels
    assert peer_settings(config, channels) == peer_settings(published, channels)
    assert count_iteration(config, channels, True) == count_iteration(published, channels, True)
    assert channels == (3 if name == "cifar10" else 1)


def test_fields_are_items_and_attributes():
    config = Config({"seed": 0, "model": {"channels": 12, "latent_dim": 24}})
    copy = config.copy()
    copy.seed = 3
    copy.model.update({"channels": 1})
    copy.update({"model": {"latent_dim": 8}})
    assert copy == {"seed": 3, "model": {"channels": 1, "latent_dim": 8}}
    assert (config.seed, config["model"].channels) == (0, 12)


def test_fields_that_do_not_exist_are_refused():
    config = Config({"model": {"channels": 12}})
    with pytest.raises(AttributeError, match="no field 'chanels'; it has channels"):
        _ = config.model.chanels
    with pytest.raises(KeyError, match="no field 'width'"):
        config.model.width = 3
    with pytest.raises(KeyError, match="no field 'width'"):
        config.update({"model": {"width": 3}})


def test_precisions():
    config = load_config("mnist")
    assert with_precision(config, "bfloat16").training.precision == "bfloat16"
    assert config.training.precision == "float32"
    with pytest.raises(ConfigError, match=r"training\.precision is 'float8'"):
        with_precision(config, "float8")
