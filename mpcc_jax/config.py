"""The configuration: every field with its default, and the rules that are checked before anything is compiled."""

import contextlib
import dataclasses
import importlib.util
import json
import math
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from absl import flags
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict, config_dict, config_flags

from mpcc_jax.augmentation import BORDERS, Augmentation
from mpcc_jax.errors import ConfigError
from mpcc_jax.variants import CHOICES, OPTIONS, VARIANTS, Conventions

if TYPE_CHECKING:
    from mpcc_jax.data.dataset import Dataset

MAX_SEED = 2**32 - 1  # jax takes the lowest 32 bits of a larger one
START = "a file with a function get_config, which changes and returns mpcc_jax.config.default_config()."
# In the repository a link to its configs/.
SHIPPED = pathlib.Path(__file__).parent / "configs"

# What the registries of losses, networks, priors and data hold; a test compares them.
ADVERSARIAL = ("hinge", "non_saturating", "wasserstein", "least_squares")
RESOLUTIONS = (8, 16, 32, 64, 128)
PRECISIONS = ("float32", "tf32", "bfloat16", "float64")
CONDITIONINGS = ("split", "shared", "conditional")
PLACEMENTS = ("auto", "device", "stream")
PRIORS = ("gaussian", "laplace", "logistic", "student_t", "full", "low_rank", "flow", "standard_normal")
WEIGHTS = ("uniform", "em", "gradient")
STATISTICS = ("standing", "running", "batch")
SCORES = ("silhouette", "mean_confidence", "cluster_entropy")  # without labels; more is better


def default_config() -> ConfigDict:
    """Returns the published settings that all experiments share (section 5.3 and appendix C), locked."""
    config = ConfigDict()
    config.seed = 0
    config.num_seeds = 1  # independent runs in one program: of seed, seed + 1, ...
    config.variant = "paper"  # or "released" or "extended": mpcc_jax.variants says what differs
    config.conventions = {field.name: config_dict.placeholder(field.type) for field in dataclasses.fields(Conventions)}

    config.data = {
        "name": "digits",  # one of mpcc_jax.data.sources.DATASETS, "folder:PATH", "npz:PATH" or "tfds:NAME"
        "resolution": 32,
        "dir": "",  # prepared TensorFlow Datasets; "" is TFDS_DATA_DIR or ~/tensorflow_datasets
        "split": "",  # "" is the data set's own rule, train+test for the paper's five
        "labels": True,  # False ignores them
        "image_feature": "",  # of tfds:NAME; "" finds it
        "label_feature": "",
        "channels": 0,  # of folder:PATH; 1, 3, or 0 for RGB unless all pictures are gray
        "background": 255,  # gray level behind transparent pixels
        "skip_bad": False,  # skip unreadable pictures instead of stopping
        "cache": True,  # keep the resized images on disk
        "cache_dir": "",  # "" is MPCC_JAX_CACHE or ~/.cache/mpcc_jax
        "threads": 0,  # for reading; 0 is one per core
        "placement": "auto",  # "device", or "stream" from disk; "auto" by size
        # Affine copies after Koch et al. (2015): degrees, slope, fraction, pixels of 105, probability of each.
        "omniglot": {
            "classes": 100,
            "copies": 20,
            "rotation": 10.0,
            "shear": 0.3,
            "scale": 0.2,
            "shift": 2.0,
            "probability": 0.5,
            "seed": 0,
        },
    }

    # Of real and generated images; None is the variant's, or the default of mpcc_jax.augmentation, whose probability 0
    # is off.
    config.augmentation = {
        name: config_dict.placeholder(type(value)) for name, value in Augmentation._field_defaults.items()
    }
    config.model = {
        "channels": 12,  # C
        "latent_dim": 24,  # J
        "num_clusters": 10,  # K
        "conditioning": "conditional",
        "share_blocks": True,  # the encoder shares the discriminator's first three blocks ("S" in table 2)
        "power_iterations": 1,
        "spectral_epsilon": 1e-8,
        "batch_norm_momentum": 0.1,
        "batch_norm_epsilon": 1e-5,
    }
    config.prior = {
        # Of the components; or laplace, logistic, student_t, full, low_rank, flow; or standard_normal, which is one.
        "family": "gaussian",
        "sigma_min": 0.5,  # of standard deviations
        "initial_log_var": 1.0,
        "degrees_of_freedom": 5.0,  # of student_t
        "learn_degrees_of_freedom": False,  # from there
        "rank": 4,  # of low_rank
        "weights": "uniform",  # phi; or K numbers as "0.5,0.3,0.2", or learnt: "em", "gradient"
        "weights_rate": 0.01,  # of em, an iteration
        "weights_prior": 0.02,  # of em and gradient: how strongly phi is kept from 0
    }
    config.loss = {"adversarial": "hinge", "prior_weight": 0.01}  # lambda_p
    config.training = {
        "iterations": 75_000,
        "batch_size": 50,  # B
        "discriminator_steps": 4,
        "encoder_steps": 4,
        "learning_rate": 2e-4,  # eta
        "prior_learning_rate": 1.6e-3,  # eta_p
        "beta1": 0.0,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "conditional": False,  # labels used as y, with a projection discriminator (table 3 b)
        # Share of the iterations, the first ones, that are conditional on the clusters of a cheap method; None is the
        # variant's, 0 but for "extended".
        "warm_start": config_dict.placeholder(float),
        "warm_labels": "tsne",  # or the path of a .npy file, an integer for each image in the order of the data
        "iterations_per_call": 10,
        # "float32", "tf32" (TensorFloat-32 products on GPUs), "bfloat16" (images and features between layers too), or
        # "float64", with JAX_ENABLE_X64=1.
        "precision": "float32",
    }
    config.speed = {  # exact rewrites, mpcc_jax.networks.rewrites; none changes results
        "shortcut_first": True,
        "pool_first": True,
        "subpixel": True,
        "winograd": True,
    }
    config.mesh = {
        "devices": 0,  # 0 is all of all hosts
        "shard_optimizer": False,  # optimizer states and moving averages divided over devices, not copied
    }
    config.checkpoints = {
        "every": 1000,  # iterations; 0 is only at the end
        "keep_last": 3,
        "keep_every": 0,
        "best": "",  # keeps the best by this score without labels too, one of SCORES
    }
    config.logging = {
        "every": 100,  # iterations; lines are means since the line before
        "images_every": 1000,  # iterations; 0 is never
        "tensorboard": True,
    }
    # Signs of collapse, looked for in every line of the log; a warning after `patience` lines in a row.
    config.alarms = {
        "after": 2000,  # iterations; before them little is in its place
        "patience": 3,
        "sigma_floor_ratio": 1.01,  # mean sigma of the prior over its floor, at or below which it has collapsed
        "sigma_max": 20.0,
        "discriminator_loss": 0.02,  # of real and generated images together, below which it has nothing to learn
    }
    config.ema = {"decay": 0.9999, "start": 1000}
    config.evaluation = {
        "every": 0,  # iterations; 0 is only at the end
        "num_images": 0,  # 0 is all, or as many as training draws if that is less, at least 2000
        "batch_size": 500,
        "statistics": "standing",  # of the generator's batch norm; or "running" or "batch": evaluation/encode.py
        "standing_passes": 16,
        "samples_per_cluster": 16,
    }
    return config.lock()


def cache_dir(folder: str | pathlib.Path | None = None) -> pathlib.Path:
    """Returns `folder`, or MPCC_JAX_CACHE, or XDG_CACHE_HOME/mpcc_jax, or ~/.cache/mpcc_jax."""
    standard = os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "mpcc_jax")
    return pathlib.Path(folder or os.environ.get("MPCC_JAX_CACHE") or standard).expanduser()


def settings_of(config: ConfigDict) -> dict[str, Any]:
    """Returns a configuration as JSON holds it."""
    return json.loads(config.to_json_best_effort())


def flatten(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns values by dotted name."""
    return flatten_dict(settings, sep=".")


def resolve_conventions(config: ConfigDict) -> Conventions:
    """Returns the variant's conventions with the fields of `config.conventions` that are set."""
    _check_choice("variant", config.variant, VARIANTS)
    overrides = {name: value for name, value in config.conventions.items() if value is not None}
    for name, choices in CHOICES.items():
        if name in overrides:
            _check_choice(f"conventions.{name}", overrides[name], choices)
    return dataclasses.replace(VARIANTS[config.variant], **overrides)


def _resolve_option(config: ConfigDict, field: str) -> Any:
    """Returns the value of a field, or where it is None that of the variant, or None."""
    group, _, name = field.partition(".")
    value = config[group][name]
    return OPTIONS.get(config.variant, {}).get(field) if value is None else value


def resolve_augmentation(config: ConfigDict) -> dict[str, Any]:
    """Returns the fields of `Augmentation`: those of `config.augmentation`, then the variant's, then the defaults."""
    chosen = {name: _resolve_option(config, f"augmentation.{name}") for name in config.augmentation}
    return {**Augmentation._field_defaults, **{name: value for name, value in chosen.items() if value is not None}}


def resolve_warm_start(config: ConfigDict) -> int:
    """Returns how many iterations are conditional on the clusters of a cheap method."""
    share = _resolve_option(config, "training.warm_start") or 0.0
    return 0 if config.training.conditional else round(share * config.training.iterations)


def _check(condition: bool, field: str, value: Any, allowed: str) -> None:
    if not condition:
        raise ConfigError(f"config.{field} is {value!r}; allowed: {allowed}.")


def _check_choice(field: str, value: Any, choices: Sequence[Any] | Mapping[Any, Any]) -> None:
    _check(value in choices, field, value, ", ".join(map(repr, choices)))


_CHOICES = {
    "data.resolution": RESOLUTIONS,
    "data.placement": PLACEMENTS,
    "model.conditioning": CONDITIONINGS,
    "prior.family": PRIORS,
    "evaluation.statistics": STATISTICS,
    "training.precision": PRECISIONS,
    "loss.adversarial": ADVERSARIAL,
}
# Fields by rule: what is allowed, in words and as a test.
_RULES = (
    (
        "a whole number, at least 1",
        lambda value: value >= 1,
        *("model.channels", "model.latent_dim", "model.num_clusters", "model.power_iterations"),
        *("training.iterations", "training.batch_size", "training.discriminator_steps", "training.encoder_steps"),
        *("training.iterations_per_call", "num_seeds", "checkpoints.keep_last", "logging.every", "alarms.patience"),
        *("evaluation.batch_size", "evaluation.standing_passes", "evaluation.samples_per_cluster"),
        *("data.omniglot.copies", "prior.rank"),
    ),
    (
        "a number above 0",
        lambda value: 0 < value < math.inf,
        *("training.learning_rate", "training.prior_learning_rate", "training.epsilon"),
        *("model.spectral_epsilon", "model.batch_norm_epsilon"),
    ),
    (
        f"a whole number from 0 to {MAX_SEED}",
        lambda value: 0 <= value <= MAX_SEED,
        *("seed", "data.omniglot.seed"),
    ),
    (
        "0 or more",
        lambda value: value >= 0,
        *("prior.sigma_min", "loss.prior_weight", "ema.start", "mesh.devices", "logging.images_every"),
        *("evaluation.every", "evaluation.num_images", "checkpoints.every", "checkpoints.keep_every"),
        *("alarms.after", "alarms.sigma_floor_ratio", "alarms.sigma_max", "alarms.discriminator_loss"),
        *("data.threads", "data.omniglot.rotation", "data.omniglot.shift"),
    ),
    (
        "a number from 0 up to, not including, 1",
        lambda value: 0 <= value < 1,
        *(
            "prior.weights_prior",
            "training.beta1",
            "training.beta2",
            "ema.decay",
            "data.omniglot.shear",
            "data.omniglot.scale",
        ),
    ),
    (
        "a number above 0, at most 1",
        lambda value: 0 < value <= 1,
        *("model.batch_norm_momentum", "prior.weights_rate"),
    ),
    ("a probability from 0 to 1", lambda value: 0 <= value <= 1, "data.omniglot.probability"),
    ("0 (found out), 1 (gray) or 3 (RGB)", lambda value: value in (0, 1, 3), "data.channels"),
    ("a gray level from 0 to 255", lambda value: 0 <= value <= 255, "data.background"),
    ("2 or more", lambda value: value >= 2, "data.omniglot.classes"),
    (
        "a number above 2, where the variance is finite",
        lambda value: 2 < value < math.inf,
        "prior.degrees_of_freedom",
    ),
    ("below 2^31", lambda value: value < 2**31, "training.iterations"),
)


def validate(config: ConfigDict) -> None:
    """Checks every field, alone and together; the error names the first that is wrong and what is allowed."""
    conventions = resolve_conventions(config)
    values = flatten(config.to_dict())
    for allowed, holds, *fields in _RULES:
        for field in fields:
            _check(holds(values[field]), field, values[field], allowed)
    for field, choices in _CHOICES.items():
        _check_choice(field, values[field], choices)
    last = config.seed + config.num_seeds - 1
    _check(last <= MAX_SEED, "num_seeds", config.num_seeds, f"seeds up to {MAX_SEED}, and the last is {last}")
    share = config.training.warm_start
    _check(share is None or 0 <= share <= 1, "training.warm_start", share, "a share of the iterations from 0 to 1")
    if not resolve_warm_start(config):
        reason = "'tsne', because there is no warm start (training.warm_start)"
        _check(config.training.warm_labels == "tsne", "training.warm_labels", config.training.warm_labels, reason)
    both = bool(share) and config.training.conditional
    _check(not both, "training.warm_start", share, "0, because training.conditional uses the true labels")
    _validate_augmentation(config)
    _validate_latents(config, conventions)
    if config.checkpoints.best:
        _check_choice("checkpoints.best", config.checkpoints.best, SCORES)
        reason = "above 0, because checkpoints.best chooses by what is scored on the way"
        _check(config.evaluation.every > 0, "evaluation.every", config.evaluation.every, reason)


def _validate_augmentation(config: ConfigDict) -> None:
    chosen = resolve_augmentation(config)
    for name, choices in {"where": ("discriminator", "encoder", "both"), "border": BORDERS}.items():
        _check_choice(f"augmentation.{name}", chosen[name], choices)
    _check(0 <= chosen["probability"] <= 1, "augmentation.probability", chosen["probability"], "a number from 0 to 1")
    degrees = "degrees from 0 to 45"
    _check(0 <= chosen["rotation"] <= 45, "augmentation.rotation", chosen["rotation"], degrees)
    for name in ("shift", "scale", "shear", "brightness", "contrast", "cutout"):
        _check(0 <= chosen[name] < 1, f"augmentation.{name}", chosen[name], "a share from 0 up to, not including, 1")
    amounts = {name: value for name, value in chosen.items() if name not in ("probability", "where", "border")}
    if chosen["probability"] and not any(amounts.values()):
        reason = f"0, because none of {', '.join(amounts)} is set"
        _check(False, "augmentation.probability", chosen["probability"], reason)


def _validate_latents(config: ConfigDict, conventions: Conventions) -> None:
    model = config.model
    if model.conditioning == "split":
        chunks = int(math.log2(config.data.resolution)) - 1
        reason = f"at least {chunks}, because model.conditioning 'split' cuts z into {chunks} chunks"
        _check(model.latent_dim >= chunks, "model.latent_dim", model.latent_dim, reason)
    prior = config.prior
    if prior.learn_degrees_of_freedom:
        reason = "False, because prior.family is not 'student_t'"
        _check(prior.family == "student_t", "prior.learn_degrees_of_freedom", True, reason)
    if prior.family == "low_rank":
        reason = f"below {model.latent_dim}, config.model.latent_dim; 'full' has all"
        _check(prior.rank < model.latent_dim, "prior.rank", prior.rank, reason)
    if prior.family == "flow":
        reason = "2 or more, because prior.family 'flow' bends some dimensions by others"
        _check(model.latent_dim > 1, "model.latent_dim", model.latent_dim, reason)
    _validate_weights(prior.weights, model.num_clusters)
    if prior.family == "standard_normal":
        reason = "'uniform', because prior.family 'standard_normal' has no clusters"
        _check(prior.weights == "uniform", "prior.weights", prior.weights, reason)
        reason = "1, because prior.family 'standard_normal' has no clusters"
        _check(model.num_clusters == 1, "model.num_clusters", model.num_clusters, reason)
    elif conventions.sigma_floor == "clip":
        reason = "a number above 0 (the paper's is 0.5): without a floor sigma collapses"
        _check(config.prior.sigma_min > 0, "prior.sigma_min", config.prior.sigma_min, reason)


def _validate_weights(weights: str, num_clusters: int) -> None:
    if weights in WEIGHTS:
        return
    reason = f"'uniform', 'em', 'gradient', or {num_clusters} numbers above 0 that add up to 1, with commas between"
    try:
        numbers = [float(part) for part in weights.split(",")]
    except ValueError:
        numbers = []
    right = len(numbers) == num_clusters and all(number > 0 for number in numbers) and abs(sum(numbers) - 1) < 1e-5
    _check(right, "prior.weights", weights, reason)


def validate_data(config: ConfigDict, dataset: "Dataset") -> None:
    """Checks the configuration against the data that it will train on."""
    count, height, width, _ = dataset.images.shape
    size, batch_size = config.data.resolution, config.training.batch_size
    reason = f"{height}, the height of the images (mpcc_jax.data.from_arrays resizes)"
    _check((height, width) == (size, size), "data.resolution", size, reason)
    reason = f"at most {count}, the number of images in {dataset.name!r}"
    _check(batch_size <= count, "training.batch_size", batch_size, reason)
    if config.training.conditional:
        reason = f"False, because {dataset.name!r} has no labels to be used as y"
        _check(dataset.labels is not None, "training.conditional", True, reason)
        classes = int(dataset.labels.max()) + 1
        reason = f"{classes}, the number of classes, because training.conditional uses the labels as y"
        _check(config.model.num_clusters == classes, "model.num_clusters", config.model.num_clusters, reason)


@contextlib.contextmanager
def _imports_from(folder: pathlib.Path) -> Iterator[None]:
    """Lets a configuration import what lies beside it, as a script may, and forgets those modules again."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and pathlib.Path(file).parent == folder:
                del sys.modules[name]


def _check_fields(config: Any, file: pathlib.Path) -> ConfigDict:
    """Checks that a configuration has the fields of `default_config`, each of its type."""
    if not isinstance(config, ConfigDict):
        raise ConfigError(f"{file}: get_config returns {type(config).__name__}; allowed: {START}")
    expected, found = flatten(default_config().to_dict()), flatten(config.to_dict())
    for field in [*found, *expected]:
        if field not in expected:
            raise ConfigError(f"{file} sets the field {field!r}, which mpcc_jax does not have.")
        if field not in found:
            raise ConfigError(f"{file}: get_config returns something without the field {field!r}; allowed: {START}")
        kind, value = type(expected[field]), found[field]
        same = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        whole = kind is float and isinstance(value, int) and not isinstance(value, bool)
        if expected[field] is not None and not (same or whole):
            raise ConfigError(
                f"{file} sets the field {field!r} to {value!r}; allowed: a value of type {kind.__name__}."
            )
    return config


def _find_config(name: str) -> pathlib.Path:
    for path in (pathlib.Path(name).expanduser(), pathlib.Path("configs", f"{name}.py"), SHIPPED / f"{name}.py"):
        if path.is_file():
            return path
    names = ", ".join(sorted(path.stem for path in SHIPPED.glob("[a-z]*.py")))
    raise ConfigError(f"the configuration {name!r} is not a file, and not one of those that are shipped: {names}.")


def get_config(name: str | pathlib.Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads the configuration of an experiment.

    Args:
      name: of a configuration that is shipped, or the path of a Python file with a function `get_config`. Text after a
        colon is passed to the function.
      overrides: of fields, each as "--config.FIELD=VALUE".

    Raises:
      ConfigError: if there is no such file, field or value, or the file cannot be used.
    """
    name, *argument = str(name).split(":", 1)
    file = _find_config(name)
    shipped = file.resolve().parent == SHIPPED.resolve()  # these import each other by relative names
    spec = importlib.util.spec_from_file_location(f"mpcc_jax.configs.{file.stem}" if shipped else "experiment", file)
    if spec is None:
        raise ConfigError(f"{file} is not a Python file; allowed: one that ends in .py, with a function get_config.")
    module = importlib.util.module_from_spec(spec)
    try:
        with _imports_from(file.resolve().parent):
            spec.loader.exec_module(module)
            if not callable(getattr(module, "get_config", None)):
                raise ConfigError(f"{file} has no function get_config; allowed: {START}")
            config = module.get_config(*argument)
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # the file is a program of the user's, and may raise anything
        text = " ".join(str(error).split())
        raise ConfigError(f"{file} is not a configuration that works ({type(error).__name__}: {text}).") from error
    config = _check_fields(config, file)
    argv, values = ["", *overrides], flags.FlagValues()
    try:
        holder = config_flags.DEFINE_config_dict("config", config, flag_values=values, sys_argv=argv)
        values(argv)
    except (AttributeError, LookupError) as error:
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]
        raise ConfigError(f"the configuration has no field {' '.join(str(error.args[0]).split())}.") from error
    except (flags.Error, TypeError, ValueError) as error:
        raise ConfigError(f"{file}: {str(error).rstrip('.')}.") from error
    return holder.value
