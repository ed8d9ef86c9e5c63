"""Every mistake in a configuration is one message with the field, the value and what is allowed."""

import dataclasses
import math
import sys

import numpy as np
import pytest

from configs import cifar10, digits, mnist
from mpcc_jax.config import (
    default_config,
    get_config,
    resolve_augmentation,
    resolve_conventions,
    resolve_warm_start,
    validate,
    validate_data,
)
from mpcc_jax.data import Dataset
from mpcc_jax.errors import ConfigError
from mpcc_jax.variants import CHOICES, VARIANTS
from reproduce.tables import CLUSTERING, configure
from tests.conftest import tiny_config

IMAGES = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 1)).astype(np.uint8)


def override(config, **fields):
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in fields.items()})
    return config


@pytest.mark.parametrize("experiment", [digits, mnist, cifar10])
def test_experiments_are_valid(experiment):
    validate(experiment.get_config())


def test_shipped_experiments_are_found_by_name_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert get_config("digits") == digits.get_config()
    assert get_config("tables:table1_row1").training.encoder_steps == 1
    small = get_config("mnist16", ["--config.seed=3"])
    assert (small.data.name, small.data.resolution, small.seed) == ("mnist", 16, 3)
    assert small == configure(CLUSTERING[1], "paper", "cpu", 3)
    with pytest.raises(ConfigError, match=r"'digit' is not a file, and not one of those that are shipped: cifar10, "):
        get_config("digit")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "digits.py").write_text("from mpcc_jax.configs.mnist import get_config\n")
    assert get_config("digits") == mnist.get_config(), "a file of one's own comes first"


START = "from mpcc_jax.config import default_config\ndef get_config():\n    config = default_config()\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n", "has no function get_config; allowed: a file with"),
        ("get_config = 3\n", "has no function get_config"),
        ("def get_config(:\n", r"is not a configuration that works \(SyntaxError: "),
        (
            "import no_such_module\n",
            r"is not a configuration that works \(ModuleNotFoundError: No module named 'no_such",
        ),
        ("raise SystemExit(3)\n", r"\(SystemExit: 3\)"),
        ("def get_config():\n    return get_config()\n", r"\(RecursionError: "),
        ("def get_config():\n    assert False, 'two\\nlines'\n", r"\(AssertionError: two lines\)"),
        ("def get_config():\n    return {'seed': 1}\n", "get_config returns dict; allowed: "),
        (START, "get_config returns NoneType; allowed: "),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict({'seed': 1})\n",
            "get_config returns something without the field 'alarms.after'",
        ),
        (
            START + "    with config.unlocked():\n        config.wandb = True\n    return config\n",
            "sets the field 'wandb'",
        ),
        (
            START + "    with config.unlocked():\n        config.model = {'wings': 2}\n    return config\n",
            "sets the field 'model.wings', which mpcc_jax does not have",
        ),
        (
            START + "    with config.ignore_type():\n        config.seed = 'x'\n    return config\n",
            "sets the field 'seed' to 'x'; allowed: a value of type int",
        ),
        (
            START + "    with config.ignore_type():\n        config.num_seeds = True\n    return config\n",
            "sets the field 'num_seeds' to True; allowed: a value of type int",
        ),
    ],
)
def test_files_that_are_no_configuration_of_ours(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        get_config(tmp_path / "mine.py")
    assert "\n" not in str(error.value)
    assert "mine.py" in str(error.value)


def test_files_that_are_no_python(tmp_path):
    (tmp_path / "mine.txt").write_bytes(b"\xff\x00")
    (tmp_path / "binary.py").write_bytes(b"\xff\x00")
    (tmp_path / "folder.py").mkdir()
    for name, message in (
        ("mine.txt", "no Python file|not a Python file"),
        ("binary.py", "works"),
        ("folder.py", "is not a file"),
    ):
        with pytest.raises(ConfigError, match=message):
            get_config(tmp_path / name)


def test_a_configuration_imports_what_lies_beside_it(tmp_path):
    for folder, seed in (("a", 3), ("b", 4)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "neighbour.py").write_text(f"SEED = {seed}\n")
        text = START + "    config.seed = SEED\n    return config\n"
        (tmp_path / folder / "mine.py").write_text("from neighbour import SEED\n" + text)
    path = list(sys.path)
    assert [get_config(tmp_path / folder / "mine.py").seed for folder in "ab"] == [3, 4]
    assert (sys.path, "neighbour" in sys.modules) == (path, False)


def test_seeds_do_not_wrap():
    config = tiny_config()
    config.seed, config.num_seeds = 2**32 - 2, 2
    validate(config)
    config.num_seeds = 3
    with pytest.raises(
        ConfigError, match=r"config.num_seeds is 3; allowed: seeds up to 4294967295, and the last is 4294967296"
    ):
        validate(config)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("variant", "papper", "'paper', 'released', 'extended'"),
        ("seed", 2**32, "a whole number from 0 to 4294967295"),
        ("seed", -1, "a whole number from 0 to 4294967295"),
        ("data.omniglot.seed", 2**32 + 5, "a whole number from 0 to 4294967295"),
        ("model.num_clusters", 0, "at least 1"),
        ("model.channels", -1, "at least 1"),
        ("training.iterations", 0, "at least 1"),
        ("training.learning_rate", 0.0, "above 0"),
        ("training.learning_rate", math.nan, "above 0"),
        ("training.beta2", 1.0, "from 0 up to"),
        ("model.batch_norm_momentum", 0.0, "above 0, at most 1"),
        ("loss.prior_weight", -0.1, "0 or more"),
        ("prior.sigma_min", 0.0, "a number above 0"),
        ("prior.degrees_of_freedom", 2.0, "a number above 2, where the variance is finite"),
        ("prior.rank", 0, "a whole number, at least 1"),
        ("prior.weights", "equal", "'uniform', 'em', 'gradient', or 3 numbers above 0 that add up to 1, with commas"),
        ("prior.weights", "0.5,0.5", "3 numbers above 0 that add up to 1"),
        ("prior.weights", "0.5,0.6,-0.1", "3 numbers above 0 that add up to 1"),
        ("prior.weights", "0.5,0.3,0.1", "3 numbers above 0 that add up to 1"),
        ("prior.weights_rate", 0.0, "a number above 0, at most 1"),
        ("prior.weights_prior", 1.0, "a number from 0 up to, not including, 1"),
        ("prior.learn_degrees_of_freedom", True, "False, because prior.family is not 'student_t'"),
        ("prior.family", "student", "'gaussian', 'laplace', 'logistic', 'student_t', 'full', 'low_rank', 'flow', "),
        ("loss.adversarial", "hing", "'hinge', 'non_saturating', 'wasserstein', 'least_squares'"),
        ("model.conditioning", "cbn", "'split', 'shared', 'conditional'"),
        ("data.resolution", 28, "8, 16, 32, 64, 128"),
        ("data.placement", "disk", "'auto', 'device', 'stream'"),
        ("data.channels", 2, "0 (found out), 1 (gray) or 3 (RGB)"),
        ("augmentation.probability", 1.5, "a number from 0 to 1"),
        ("training.warm_start", 1.5, "a share of the iterations from 0 to 1"),
        ("training.warm_labels", "mine.npy", "'tsne', because there is no warm start"),
        ("augmentation.where", "prior", "'discriminator', 'encoder', 'both'"),
        ("augmentation.border", "white", "'black', 'edge', 'reflect'"),
        ("augmentation.rotation", 90.0, "degrees from 0 to 45"),
        ("augmentation.cutout", 1.0, "a share from 0"),
        ("data.background", 256, "a gray level from 0 to 255"),
        ("data.omniglot.probability", 1.5, "a probability from 0 to 1"),
        ("data.omniglot.scale", 1.0, "a number from 0 up to"),
        ("evaluation.num_images", -1, "0 or more"),
        ("conventions.upsampling", "cubic", "'bilinear', 'nearest'"),
        ("training.iterations", 2**31, "below 2^31"),
    ],
)
def test_wrong_values_name_field_value_and_what_is_allowed(field, value, allowed):
    config = override(tiny_config(), **{field: value})
    with pytest.raises(ConfigError) as error:
        validate(config)
    assert str(error.value).startswith(f"config.{field} is {value!r}; allowed: ")
    assert allowed in str(error.value)


def test_split_needs_a_dimension_for_every_chunk():
    config = override(default_config(), **{"model.conditioning": "split", "model.latent_dim": 3})
    with pytest.raises(ConfigError, match=r"latent_dim is 3; allowed: at least 4, because .* 'split'"):
        validate(config)
    validate(override(config, **{"model.latent_dim": 128, "data.resolution": 64}))


def test_standard_normal_prior_has_one_cluster():
    config = override(tiny_config(), **{"prior.family": "standard_normal"})
    with pytest.raises(ConfigError, match="num_clusters is 3; allowed: 1"):
        validate(config)


def test_augmentation_has_something_to_do():
    amounts = dict.fromkeys(("shift", "rotation", "scale", "shear"), 0.0) | {"probability": 0.5}
    config = override(tiny_config(), **{f"augmentation.{name}": value for name, value in amounts.items()})
    with pytest.raises(ConfigError, match=r"probability is 0\.5; allowed: 0, because none of shift, rotation"):
        validate(config)


def test_a_warm_start_is_a_share_of_the_iterations():
    def iterations(**fields):
        return resolve_warm_start(override(tiny_config(), training__iterations=100, **fields))

    assert iterations() == 0
    assert iterations(training__warm_start=0.346) == 35
    assert iterations(variant="extended") == 25
    assert iterations(variant="extended", training__warm_start=0.0) == 0
    assert iterations(variant="extended", training__conditional=True) == 0


def test_what_a_variant_sets_can_be_set_otherwise():
    def chosen(**fields):
        values = resolve_augmentation(override(tiny_config(), **fields))
        return values["probability"], values["where"], values["rotation"]

    assert chosen() == (0.0, "both", 12.0)
    assert chosen(variant="extended") == (0.5, "encoder", 12.0)
    assert chosen(variant="extended", augmentation__where="both", augmentation__rotation=0.0) == (0.5, "both", 0.0)
    assert chosen(variant="extended", augmentation__probability=0.0) == (0.0, "encoder", 12.0)


def test_a_warm_start_needs_no_true_labels():
    config = override(tiny_config(), **{"training.warm_start": 0.5, "training.conditional": True})
    with pytest.raises(
        ConfigError, match=r"warm_start is 0\.5; allowed: 0, because training\.conditional uses the true"
    ):
        validate(config)


def test_unknown_fields_are_errors():
    with pytest.raises(AttributeError, match="iteratons"):
        default_config().training.iteratons = 3
    with pytest.raises(TypeError):
        default_config().training.iterations = "many"


def test_conventions_start_from_the_variant():
    config = tiny_config()
    assert resolve_conventions(config) == VARIANTS["paper"]
    config.conventions.upsampling = "nearest"
    config.conventions.latent_gradient = True
    expected = dataclasses.replace(VARIANTS["paper"], upsampling="nearest", latent_gradient=True)
    assert resolve_conventions(config) == expected


@pytest.mark.parametrize("field", CHOICES)
def test_the_two_variants_differ_in_every_choice(field):
    values = {getattr(conventions, field) for conventions in VARIANTS.values()}
    assert values == set(CHOICES[field])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.resolution": 16}, "data.resolution is 16; allowed: 8, the height of the images"),
        ({"training.batch_size": 21}, "training.batch_size is 21; allowed: at most 20"),
        ({"training.conditional": True}, "training.conditional is True; allowed: False, because 'photos' has no"),
    ],
)
def test_config_and_data_must_fit(overrides, message):
    with pytest.raises(ConfigError, match=message):
        validate_data(override(tiny_config(), **overrides), Dataset("photos", IMAGES))


def test_conditional_training_needs_as_many_clusters_as_classes():
    dataset = Dataset("photos", IMAGES, np.arange(20) % 4)
    with pytest.raises(ConfigError, match="num_clusters is 3; allowed: 4"):
        validate_data(override(tiny_config(), **{"training.conditional": True}), dataset)


def test_the_rank_of_the_prior_is_below_its_dimensions():
    config = override(tiny_config(), prior__family="low_rank", prior__rank=8)
    with pytest.raises(ConfigError, match=r"config.prior.rank is 8; allowed: below 8, config.model.latent_dim; 'full'"):
        validate(config)
