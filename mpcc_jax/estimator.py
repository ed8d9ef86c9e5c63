"""MPCC as a scikit-learn estimator: rows or images in, clusters and latents out; training happens in memory."""

import difflib
import functools
import math
import numbers
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from typing import Any, no_type_check

import jax
import numpy as np
from ml_collections import ConfigDict
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mpcc_jax.compilation import check_precision
from mpcc_jax.config import MAX_SEED, default_config, flatten, validate
from mpcc_jax.config import validate_data as validate_dataset
from mpcc_jax.data import from_arrays
from mpcc_jax.data.dataset import add_channels
from mpcc_jax.data.feature_rows import choose_image_shape, draw_rows
from mpcc_jax.data.images import fit_float_array
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.errors import ConfigError, DataError, InputError
from mpcc_jax.evaluation.selection import choose_run, compare_runs
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.trained_model import TrainedModel, Weights
from mpcc_jax.training.loop import check_finite, iterate
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import build_algorithm, init_state, split_seed
from mpcc_jax.training.steps import compile_train_iterations

# Fields of the configuration by parameter.
FIELDS = {
    "variant": "variant",
    "resolution": "data.resolution",
    "n_clusters": "model.num_clusters",
    **{name: f"model.{name}" for name in ("channels", "latent_dim")},
    **{name: f"training.{name}" for name in ("iterations", "batch_size", "discriminator_steps", "encoder_steps")},
    **{name: f"training.{name}" for name in ("learning_rate", "prior_learning_rate")},
}
# Other fields that differ from the package's defaults: training as in `configs/digits.py`.
PRESETS = {"data.name": "arrays", "training.iterations_per_call": 50, "ema.decay": 0.999, "mesh.devices": 1}
# What the parameter `config` may hold: the other fields are about files, logs and devices.
CONFIGURABLE = (
    *("variant", "conventions.", "augmentation.", "model.", "prior.", "loss.", "training.", "ema."),
    *("data.resolution", "evaluation.statistics", "evaluation.standing_passes"),
)
OUTLIER_SHARE = 0.05  # of the range, within which nearly all values are where outliers or another scale stretch it
CLIPPED_SHARE = 0.1
PRINTED = ("discriminator_loss_real", "discriminator_loss_fake", "generator_loss", "encoder_nll")


def _assign(config: ConfigDict, name: str, field: str, value: Any) -> None:
    """Sets a field; a value of another type is an error that names the parameter."""
    *parents, leaf = field.split(".")
    section = functools.reduce(operator.getitem, parents, config)
    value, kind = value.item() if isinstance(value, np.generic) else value, section.get_type(leaf)
    try:
        if (value is None and section[leaf] is not None) or (isinstance(value, bool) and kind is not bool):
            raise TypeError
        section[leaf] = value
    except TypeError:
        raise ConfigError(f"{name} is {value!r}; allowed: a value of type {kind.__name__}.") from None


def _check(check: Callable[..., None], overrides: Mapping[str, Any], *arguments: Any) -> None:
    """Runs a check of the configuration; its errors name the parameters of the estimator."""
    try:
        check(*arguments)
    except ConfigError as error:
        message = str(error)
        for name, field in FIELDS.items():
            if field not in overrides:
                message = re.sub(rf"config\.{re.escape(field)}\b", name, message)
        raise ConfigError(message) from None


def make_config(parameters: Mapping[str, Any], side: int) -> ConfigDict:
    """Makes the configuration of an estimator's parameters, without a seed, for images whose shorter side is given.

    Raises:
      ConfigError: names the parameter that is wrong.
    """
    overrides = {} if parameters["config"] is None else parameters["config"]
    if not isinstance(overrides, Mapping):
        raise ConfigError(f"config is {overrides!r}; allowed: a dictionary of dotted names and values, or None.")
    config = default_config()
    fields = [field for field in flatten(config.to_dict()) if field.startswith(CONFIGURABLE)]
    for field in overrides:
        if field not in fields:
            nearest = ", ".join(difflib.get_close_matches(str(field), fields, n=3, cutoff=0.0))
            raise ConfigError(
                f"config has {field!r}; allowed: fields of mpcc_jax.config under {', '.join(CONFIGURABLE)}; the "
                f"nearest are {nearest}."
            )
    for field, value in PRESETS.items():
        _assign(config, field, field, value)
    config.data.resolution = min((size for size in ARCHITECTURES if size >= side), default=max(ARCHITECTURES))
    for name, field in FIELDS.items():
        if field not in overrides and not (name == "resolution" and parameters[name] is None):
            _assign(config, name, field, parameters[name])
    for field, value in overrides.items():
        _assign(config, f"config[{field!r}]", field, value)
    _check(validate, overrides, config)
    return config


def _draw_seed(random_state: Any) -> int:
    """The seed: an integer is itself, as `config.seed`; anything else is what `check_random_state` makes of it."""
    generator = check_random_state(random_state)
    return int(random_state if isinstance(random_state, numbers.Integral) else generator.randint(2**31 - 1))


def _print_progress(total: int, done: int, metrics: Mapping[str, np.ndarray]) -> None:
    """Prints about 20 lines in the whole training."""
    every = max(1, total // 20)
    if done == total or done // every > (done - len(metrics["generator_loss"])) // every:
        losses = ", ".join(f"{name} {metrics[name].mean():.3f}" for name in PRINTED)
        print(f"[MPCC] iteration {done} of {total}: {losses}")


class MPCC(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Clusters images by MPCC (Astorga et al., ECCV 2020), as scikit-learn's clusterers do.

    X is images, [N, H, W] or [N, H, W, C], or rows, [N, features], one flattened image each. uint8 means 0 to 255;
    other numbers are scaled by the minimum and maximum of the training X, beyond which they are clipped. Both are 8-bit
    images to the networks, cropped to the centred square and resized where the resolution is another.

    With `pad_features=True` it passes scikit-learn's checks of estimators but for:
      check_clustering: two iterations, as our tests train, do not find its three blobs, and clusters may be empty.

    Args:
      n_clusters: K.
      iterations: of training.
      channels: C, width of the networks.
      latent_dim: J.
      resolution: pixels of the networks' side, 8, 16, 32, 64 or 128; None is the smallest not below the images' side.
      batch_size: B, at most N.
      discriminator_steps: per iteration.
      encoder_steps: per iteration.
      learning_rate: eta.
      prior_learning_rate: eta_p.
      variant: "paper", "released" or "extended".
      n_init: trainings from seed, seed + 1, ..., of which the best without labels is kept
        (`mpcc_jax.evaluation.selection`); each takes its time.
      image_shape: (H, W) or (H, W, C) of a row; None is square and gray.
      pad_features: whether rows that fill no square are laid on the smallest that holds them, the rest being the lowest
        value. Of little use for features that are not pixels: the networks see neighbours where there are none.
      config: values by dotted name of other fields of `mpcc_jax.config`, over all of the above, for example
        {"loss.adversarial": "hinge", "model.conditioning": "split"}. ema.decay is 0.999 unless it says otherwise, and
        training.iterations_per_call 50.
      random_state: an integer is the seed (equal to `config.seed` of a run); or a RandomState, or None.
      verbose: whether to print the losses now and then.

    Attributes:
      labels_: clusters of the training X, integers in [0, K), [N].
      selection_: of every start, by name: seed, silhouette, agreement, confidence, rank.
      model_: the `mpcc_jax.TrainedModel`: reconstructs, generates, interpolates.
      n_iter_: finished iterations.
      n_features_in_: features of a row, H * W * C of images.
      feature_names_in_: if X was a data frame.
      image_shape_: (H, W, C) of the images that rows stand for.
      pixel_range_: values of X that are black and white.
    """

    @no_type_check  # scikit-learn: parameters are checked in `fit`
    def __init__(
        self,
        n_clusters: int = 10,
        *,
        iterations: int = 6000,
        channels: int = 4,
        latent_dim: int = 16,
        resolution: int | None = None,
        batch_size: int = 50,
        discriminator_steps: int = 1,
        encoder_steps: int = 1,
        learning_rate: float = 4e-4,
        prior_learning_rate: float = 3.2e-3,
        variant: str = "paper",
        n_init: int = 1,
        image_shape: tuple[int, ...] | None = None,
        pad_features: bool = False,
        config: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        self.n_clusters = n_clusters
        self.iterations = iterations
        self.channels = channels
        self.latent_dim = latent_dim
        self.resolution = resolution
        self.batch_size = batch_size
        self.discriminator_steps = discriminator_steps
        self.encoder_steps = encoder_steps
        self.learning_rate = learning_rate
        self.prior_learning_rate = prior_learning_rate
        self.variant = variant
        self.n_init = n_init
        self.image_shape = image_shape
        self.pad_features = pad_features
        self.config = config
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "MPCC":
        """Trains on images, Algorithm 1; y is ignored.

        Raises:
          ConfigError, DataError, InputError: all ValueErrors, before anything is compiled.
          NonFiniteError: if a loss or a gradient became NaN or infinite.
        """
        before = dict(vars(self))
        try:
            self._fit(X)
        except BaseException:  # a fit that fails, or is interrupted, leaves what was fitted
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _fit(self, X: Any) -> None:
        if isinstance(self.n_init, bool) or not isinstance(self.n_init, numbers.Integral) or self.n_init < 1:
            raise ConfigError(f"n_init is {self.n_init!r}; allowed: a whole number, at least 1.")
        rows, shape = self._check_rows(X, reset=True)
        if self.image_shape is not None and np.ndim(self.image_shape) != 1:
            raise InputError(f"image_shape is {self.image_shape!r}; allowed: (H, W), or (H, W, C) with C 1 or 3.")
        self.image_shape_ = choose_image_shape(self.n_features_in_, shape, self.image_shape, pad=self.pad_features)
        self._sample_shape = (self.n_features_in_,) if shape is None else np.shape(X)[1:]
        self.pixel_range_ = (0.0, 255.0) if rows.dtype == np.uint8 else (float(rows.min()), float(rows.max()))
        lowest, highest = self.pixel_range_
        if not 0 < highest - lowest < math.inf:
            raise DataError(f"X goes from {lowest:g} to {highest:g}; allowed: more than one value, of a finite extent.")
        most = np.subtract(*np.percentile(rows, (99.9, 0.1)))
        if rows.dtype != np.uint8 and 0 < most < OUTLIER_SHARE * (highest - lowest):
            warnings.warn(
                f"X goes from {lowest:g} to {highest:g}, and 99.8 % of it within {most:g}, so most pixels look alike; "
                "clip the outliers.",
                stacklevel=3,
            )
        config = make_config(self.get_params(deep=False), min(self.image_shape_[:2]))
        check_precision(config.training.precision)
        images = draw_rows(rows, self.pixel_range_, self.image_shape_)
        dataset = from_arrays(images, resolution=config.data.resolution, name="X")
        _check(validate_dataset, self.config or {}, config, dataset)
        first, starts = _draw_seed(self.random_state), []
        if first + self.n_init - 1 > MAX_SEED:
            raise ConfigError(f"n_init is {self.n_init}; allowed: seeds up to {MAX_SEED}, and the first is {first}.")
        self.n_iter_, self._n_features_out = config.training.iterations, config.model.latent_dim
        for seed in range(first, first + self.n_init):
            config.seed = seed
            self._weights = jax.tree.map(np.asarray, self._train(config, dataset.images))
            self._settings = config.to_dict()
            self._model = self._build_model()
            starts.append((self._model, self._weights, self._settings, self._model.encode(dataset.images)))
        scores = compare_runs([encoding for *_, encoding in starts])
        self._model, self._weights, self._settings, encoding = starts[choose_run(scores)]
        self.selection_ = [{"seed": first + index, **entry} for index, entry in enumerate(scores)]
        self.labels_ = encoding.log_membership.argmax(axis=-1)

    def predict(self, X: Any) -> np.ndarray:
        """Clusters images or rows: argmax_k q(y = k given z) at the encoder's mean (Eq. 9), [N]."""
        return self.model_.predict(self._images(X))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Computes memberships q(y given z) at the encoder's mean (Eq. 9), [N, K]."""
        return self.model_.predict_proba(self._images(X))

    def transform(self, X: Any) -> np.ndarray:
        """Computes latents, the means of q(z given x), [N, J]."""
        return self.model_.transform(self._images(X))

    def score_samples(self, X: Any) -> np.ndarray:
        """Computes the log density of the latents under the prior, in nats, [N]: low for outliers."""
        return self.model_.log_prob(self._images(X))

    def sample(self, n_samples: int = 1, cluster: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Generates images or rows, as the X of `fit` was, by the EMA generator from `random_state`; and components.

        Args:
          n_samples: how many.
          cluster: a component, integer in [0, K), or [n_samples] of them; None draws them.

        Raises:
          InputError: if the images of `fit` were not square: what was cropped is not generated.
        """
        model, (height, width, _) = self.model_, self.image_shape_
        if height != width:
            raise InputError(
                f"images are {height}x{width}; allowed: square ones, as the networks see the centred square alone. "
                "model_.generate makes those."
            )
        _, key = jax.random.split(split_seed(_draw_seed(self.random_state)).evaluation)
        z, y = model.draw(key, n_samples, cluster)
        pixels = np.stack([fit_float_array(image, height) for image in model.decode(z, y)]).reshape(n_samples, -1)
        lowest, highest = self.pixel_range_
        rows = lowest + (pixels[:, : self.n_features_in_] + 1) * ((highest - lowest) / 2)
        return rows.reshape(n_samples, *self._sample_shape), y

    @property
    def model_(self) -> TrainedModel:
        """The `TrainedModel`; made anew after unpickling."""
        check_is_fitted(self, "n_iter_")
        if "_model" not in vars(self):
            self._model = self._build_model()
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_model"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check_rows(self, X: Any, *, reset: bool) -> tuple[np.ndarray, tuple[int, ...] | None]:
        """X as checked rows, [N, features], and (H, W, C) if it was images."""
        shape = np.shape(X) if isinstance(X, list | tuple) else getattr(X, "shape", ())
        are_images = len(shape) in (3, 4)
        X = add_channels(np.asarray(X)) if len(shape) == 3 else X
        rows = np.reshape(np.asarray(X), (shape[0], math.prod(shape[1:]))) if are_images else X
        rows = validate_data(self, rows, reset=reset, ensure_min_samples=2 if reset else 1)
        return rows, (*shape[1:], *[1] * (4 - len(shape))) if are_images else None

    def _images(self, X: Any) -> np.ndarray:
        """X of a method after `fit`, as the networks' images."""
        check_is_fitted(self, "n_iter_")
        rows, shape = self._check_rows(X, reset=False)
        if shape not in (None, self.image_shape_):
            raise InputError(f"X holds images of shape {shape}; allowed: {self.image_shape_}, as those of fit.")
        self._warn_of_range(rows)
        return draw_rows(rows, self.pixel_range_, self.image_shape_)

    def _warn_of_range(self, rows: np.ndarray) -> None:
        """Warns of rows in another range than those of fit: clipped, or nearly one value."""
        lowest, highest = self.pixel_range_
        clipped, extent = np.mean((rows < lowest) | (rows > highest)), float(rows.max()) - float(rows.min())
        if clipped > CLIPPED_SHARE or (len(rows) > 1 and 0 < extent < OUTLIER_SHARE * (highest - lowest)):
            warnings.warn(
                f"X goes from {rows.min():g} to {rows.max():g}, and that of fit went from {lowest:g} to {highest:g} "
                f"({clipped:.0%} of it is clipped); scale X as that of fit.",
                stacklevel=4,
            )

    def _train(self, config: ConfigDict, images: np.ndarray) -> dict[str, Any]:
        """Trains on one device, and returns what was learned."""
        training, keys = config.training, split_seed(config.seed)
        algorithm, layout = build_algorithm(config, images.shape[-1]), make_layout(config, jax.local_devices()[:1])
        loader = DeviceLoader(images, None, [keys.data], training.discriminator_steps, training.batch_size, layout)
        noise_key, init_key = layout.replicate_keys(keys.noise), layout.replicate_keys(keys.init)
        program, total, pending = compile_train_iterations(algorithm, layout), training.iterations, None
        first = init_state(algorithm, init_key, layout)
        calls = iterate(program, loader, noise_key, first, 0, total, training.iterations_per_call)
        for state, iteration, metrics in calls:  # noqa: B007
            if pending is not None:
                self._check(total, *pending)
            pending = iteration, metrics
        self._check(total, *pending)
        return {"params": state.params, "buffers": state.buffers, "ema": state.ema}

    def _check(self, total: int, iteration: int, metrics: Mapping[str, jax.Array]) -> None:
        """Reads the metrics of a call, while the next one runs."""
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
        check_finite(iteration, metrics)
        if self.verbose:
            _print_progress(total, iteration, metrics)

    def _build_model(self) -> TrainedModel:
        config = default_config()
        config.update(self._settings)
        model = build_algorithm(config, self.image_shape_[-1]).model
        weights = jax.device_put(Weights(**self._weights))
        return TrainedModel(config, model, weights, iteration=self.n_iter_, seed=config.seed)
