"""The configuration: every field with its default, and the checks that run before anything is compiled."""

import dataclasses
import importlib.util
import math
import pathlib
from collections.abc import Sequence

from absl import flags
from ml_collections import ConfigDict, config_flags

from mpcc_jax.errors import ConfigError
from mpcc_jax.losses import ADVERSARIAL_LOSSES
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.networks.precision import PRECISIONS
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.variants import CHOICES, VARIANTS, Conventions

CONDITIONINGS = ("split", "shared", "conditional")
PLACEMENTS = ("auto", "device", "stream")
PRIORS = ("gaussian_mixture", "standard_normal")
STATISTICS = ("standing", "running", "batch")
SCORES = ("silhouette", "mean_confidence", "cluster_entropy")  # without labels; more is better


def default_config():
    """The published settings that all experiments share (section 5.3 and appendix C).

    Returns:
      A locked `ml_collections.ConfigDict`; experiments in `configs/` override fields.
    """
    import ml_collections
    from ml_collections.config_dict import placeholder

    config = ml_collections.ConfigDict()
    config.seed = 0
    config.num_seeds = 1  # independent runs in one program: of seed, seed + 1, ...
    config.variant = "paper"  # "paper" or "released": mpcc_jax/variants.py says what differs
    config.conventions = {field.name: placeholder(field.type) for field in dataclasses.fields(Conventions)}

    config.data = {
        "name": "digits",  # one of mpcc_jax/data/sources.py, "folder:PATH", "npz:PATH" or "tfds:NAME"
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
        "crop_padding": 0,  # augmentation: pixels of reflected border to crop from at random; 4 is usual
        "flip": False,  # augmentation: mirror every other image, left to right
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
    config.prior = {"kind": "gaussian_mixture", "sigma_min": 0.5, "initial_log_var": 1.0}
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
        "iterations_per_call": 10,
        # "float32", "tf32" (TensorFloat-32 products on GPUs) or "bfloat16" (images and features between layers too).
        "precision": "float32",
    }
    config.speed = dataclasses.asdict(Rewrites())  # exact rewrites, mpcc_jax/networks/rewrites.py; none changes results
    config.mesh = {
        "devices": 0,  # 0 is all of all hosts
        "shard_optimizer": False,  # optimizer states and moving averages divided over devices, not copied
    }
    config.checkpoints = {
        "every": 1000,  # iterations; 0 is only at the end
        "keep_last": 3,
        "keep_every": 0,
        "best": "",  # keeps the best by this score without labels too, one of mpcc_jax/config.py's SCORES
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
        "statistics": "standing",  # of the generator's batch norm; or "running" or "batch": evaluation/networks.py
        "standing_passes": 16,
        "samples_per_cluster": 16,
    }
    return config.lock()


def resolve_conventions(config):
    """The variant's conventions with the fields of `config.conventions` that are set.

    Args:
      config: the configuration.

    Returns:
      A `Conventions`.

    Raises:
      ConfigError: if the variant or a convention is not one of those there are.
    """
    _one_of("variant", config.variant, VARIANTS)
    overrides = {name: value for name, value in config.conventions.items() if value is not None}
    for name, choices in CHOICES.items():
        if name in overrides:
            _one_of(f"conventions.{name}", overrides[name], choices)
    return dataclasses.replace(VARIANTS[config.variant], **overrides)


def _one_of(field, value, allowed):
    if value not in allowed:
        raise ConfigError(f"config.{field} is {value!r}; allowed: {', '.join(map(repr, allowed))}.")


def _check(condition, field, value, allowed):
    if not condition:
        raise ConfigError(f"config.{field} is {value!r}; allowed: {allowed}.")


_AT_LEAST_ONE = (
    *(f"model.{name}" for name in ("channels", "latent_dim", "num_clusters", "power_iterations")),
    *(f"training.{name}" for name in ("iterations", "batch_size", "discriminator_steps", "encoder_steps")),
    "training.iterations_per_call",
    "num_seeds",
    "checkpoints.keep_last",
    "logging.every",
    "alarms.patience",
    *(f"evaluation.{name}" for name in ("batch_size", "standing_passes", "samples_per_cluster")),
)
_POSITIVE = (
    *(f"training.{name}" for name in ("learning_rate", "prior_learning_rate", "epsilon")),
    *(f"model.{name}" for name in ("spectral_epsilon", "batch_norm_epsilon")),
)
_NOT_NEGATIVE = (
    "prior.sigma_min",
    "loss.prior_weight",
    "ema.start",
    "evaluation.every",
    "evaluation.num_images",
    "seed",
    "checkpoints.every",
    "checkpoints.keep_every",
    "logging.images_every",
    *(f"alarms.{name}" for name in ("after", "sigma_floor_ratio", "sigma_max", "discriminator_loss")),
    "mesh.devices",
)
_DATA = (
    ("data.channels", lambda value: value in (0, 1, 3), "0 (found out), 1 (gray) or 3 (RGB)"),
    ("data.background", lambda value: 0 <= value <= 255, "a gray level from 0 to 255"),
    ("data.threads", lambda value: value >= 0, "0 (one per core) or more"),
    ("data.omniglot.classes", lambda value: value >= 2, "2 or more"),
    ("data.omniglot.copies", lambda value: value >= 1, "1 or more"),
    ("data.omniglot.shear", lambda value: 0 <= value < 1, "a slope from 0 up to, not including, 1"),
    ("data.omniglot.scale", lambda value: 0 <= value < 1, "a fraction from 0 up to, not including, 1"),
    ("data.omniglot.probability", lambda value: 0 <= value <= 1, "a probability from 0 to 1"),
    *((f"data.omniglot.{name}", lambda value: value >= 0, "0 or more") for name in ("rotation", "shift", "seed")),
)
# What Python code of a user raises most.
_FAILURES = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    OSError,
    SyntaxError,
    TypeError,
    ValueError,
)
_FRACTIONS = ("training.beta1", "training.beta2", "ema.decay")


def _value(config, field):
    for part in field.split("."):
        config = config[part]
    return config


def validate(config):
    """Checks every field, alone and together, before any expensive work.

    Args:
      config: the configuration.

    Raises:
      ConfigError: names the first field that is wrong, its value, what is allowed and what to do.
    """
    conventions = resolve_conventions(config)
    for fields, holds, allowed in (
        (_AT_LEAST_ONE, lambda value: value >= 1, "a whole number, at least 1"),
        (_POSITIVE, lambda value: 0 < value < math.inf, "a number above 0"),
        (_NOT_NEGATIVE, lambda value: value >= 0, "0 or more"),
        (_FRACTIONS, lambda value: 0 <= value < 1, "a number from 0 up to, not including, 1"),
        (["model.batch_norm_momentum"], lambda value: 0 < value <= 1, "a number above 0, at most 1"),
    ):
        for field in fields:
            value = _value(config, field)
            _check(holds(value), field, value, allowed)
    _validate_data_fields(config)
    _one_of("model.conditioning", config.model.conditioning, CONDITIONINGS)
    _one_of("prior.kind", config.prior.kind, PRIORS)
    _one_of("evaluation.statistics", config.evaluation.statistics, STATISTICS)
    _one_of("training.precision", config.training.precision, PRECISIONS)
    _one_of("loss.adversarial", config.loss.adversarial, ADVERSARIAL_LOSSES)
    _validate_latents(config, conventions)
    if config.checkpoints.best:
        _one_of("checkpoints.best", config.checkpoints.best, SCORES)
        _check(
            config.evaluation.every > 0,
            "evaluation.every",
            config.evaluation.every,
            "above 0, because checkpoints.best chooses by what is scored on the way",
        )
    _check(config.training.iterations < 2**31, "training.iterations", config.training.iterations, "below 2^31")


def _validate_data_fields(config):
    for field, holds, allowed in _DATA:
        value = _value(config, field)
        _check(holds(value), field, value, allowed)
    _one_of("data.resolution", config.data.resolution, ARCHITECTURES)
    _one_of("data.placement", config.data.placement, PLACEMENTS)
    padding = config.data.crop_padding
    _check(0 <= padding < config.data.resolution, "data.crop_padding", padding, "0 or more, below data.resolution")


def _validate_latents(config, conventions):
    chunks = len(ARCHITECTURES[config.data.resolution].generator) + 1
    if config.model.conditioning == "split":
        _check(
            config.model.latent_dim % chunks == 0,
            "model.latent_dim",
            config.model.latent_dim,
            f"a multiple of {chunks}, because model.conditioning 'split' at resolution {config.data.resolution} "
            f"cuts z into {chunks} equal chunks (or choose 'shared' or 'conditional')",
        )
    if config.prior.kind == "standard_normal":
        _check(
            config.model.num_clusters == 1,
            "model.num_clusters",
            config.model.num_clusters,
            "1, because prior.kind 'standard_normal' has no clusters",
        )
    elif conventions.sigma_floor == "clip":
        _check(
            config.prior.sigma_min > 0,
            "prior.sigma_min",
            config.prior.sigma_min,
            "a number above 0 (the paper's is 0.5): without a floor sigma collapses",
        )


def validate_data(config, dataset):
    """Checks the configuration against the data that it will train on.

    Args:
      config: the configuration.
      dataset: the `mpcc_jax.data.Dataset`.

    Raises:
      ConfigError: if they do not fit each other.
    """
    count, height, width, _ = dataset.images.shape
    size = config.data.resolution
    _check(
        (height, width) == (size, size),
        "data.resolution",
        size,
        f"{height}, the height of the images (mpcc_jax.data.from_arrays resizes)",
    )
    _check(
        config.training.batch_size <= count,
        "training.batch_size",
        config.training.batch_size,
        f"at most {count}, the number of images in {dataset.name!r}",
    )
    if config.training.conditional:
        _check(
            dataset.labels is not None,
            "training.conditional",
            True,
            f"False, because {dataset.name!r} has no labels to be used as y",
        )
        classes = int(dataset.labels.max()) + 1
        _check(
            config.model.num_clusters == classes,
            "model.num_clusters",
            config.model.num_clusters,
            f"{classes}, the number of classes, because training.conditional uses the labels as y",
        )


def _find_config(name: str) -> pathlib.Path:
    for path in (pathlib.Path(name).expanduser(), pathlib.Path("configs", f"{name}.py")):
        if path.is_file():
            return path
    raise ConfigError(f"the configuration {name!r} is not a file; the experiments are in configs/.")


def load_config(path: str | pathlib.Path, overrides: Sequence[str] = ()) -> ConfigDict:
    """Reads the configuration of an experiment.

    Args:
      path: of a Python file with a function `get_config`, or the name of one in configs/. Text after a colon is passed
        to the function.
      overrides: of fields, each as "--config.FIELD=VALUE".

    Raises:
      ConfigError: if there is no such file, field or value, or the file cannot be used.
    """
    name, *argument = str(path).split(":", 1)
    file = _find_config(name)
    spec = importlib.util.spec_from_file_location("experiment", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*argument)
    except _FAILURES as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{file} is not a configuration that works ({type(error).__name__}: {text}).") from error
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
