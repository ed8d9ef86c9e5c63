"""MPCC as a scikit-learn estimator: rows or images in, clusters and latents out; training happens in memory."""

import difflib
import functools
import json
import math
import numbers
import operator
import re
from collections.abc import Mapping

import jax
import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mpcc_jax.config import default_config, validate
from mpcc_jax.config import validate_data as validate_dataset
from mpcc_jax.data import from_arrays
from mpcc_jax.data.images import fit_float_array
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.data.rows import choose_image_shape, draw_rows
from mpcc_jax.errors import ConfigError, DataError, InputError
from mpcc_jax.networks.architecture import ARCHITECTURES
from mpcc_jax.trained_model import TrainedModel, Weights
from mpcc_jax.training.loop import Trainer
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import build_algorithm, init_state, split_seed
from mpcc_jax.workdir import flatten, settings_of

PRINTED = ("discriminator_loss_real", "discriminator_loss_fake", "generator_loss", "encoder_nll")


def _parse(text):
    config = default_config()
    config.update(json.loads(text))
    return config


# An `Algorithm`, and with it every compiled program, is equal to itself alone: all fits that are alike share one.
@functools.lru_cache(maxsize=32)
def _shared_algorithm(text, channels):
    return build_algorithm(_parse(text), channels)


@functools.lru_cache(maxsize=32)
def _shared_layout(text):
    return make_layout(_parse(text), jax.local_devices()[:1])


def _program_text(config):
    """What of a configuration the compiled programs depend on, as JSON."""
    settings = settings_of(config)
    kept = ("variant", "conventions", "data", "model", "prior", "loss", "training", "mesh", "ema")
    settings["training"].pop("iterations")
    return json.dumps({name: settings[name] for name in kept}, sort_keys=True)


def _draw_seed(random_state):
    """An integer is the seed itself, as `config.seed`; anything else is what `check_random_state` makes of it."""
    generator = check_random_state(random_state)
    return int(random_state if isinstance(random_state, numbers.Integral) else generator.randint(2**31 - 1))


def _progress(total, lines=20):
    """A `report` for `Trainer.run` that prints so many lines."""
    every = max(1, total // lines)

    def report(done, metrics, _):
        count = len(metrics["generator_loss"])
        if done == total or done // every > (done - count) // every:
            losses = ", ".join(f"{name} {metrics[name].mean():.3f}" for name in PRINTED)
            print(f"[MPCC] iteration {done} of {total}: {losses}")

    return report


class MPCC(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator):
    """Clusters images by MPCC (Astorga et al., ECCV 2020), as scikit-learn's clusterers do.

    X is images, [N, H, W] or [N, H, W, C], or rows, [N, features], one flattened image each. uint8 means 0 to 255;
    other numbers are scaled by the minimum and maximum of the training X, beyond which they are clipped. Both are 8-bit
    images to the networks, cropped to the centred square and resized where the resolution is another.

    With `pad_features=True`, since their rows are of any length, it passes scikit-learn's checks of estimators but for:
      check_clustering: three blobs of 50 points have to be found, by the two iterations that our tests train, and no
        cluster may be empty. (1000 iterations of the default networks reached an adjusted Rand index of 0.94 there,
        with seed 0.) MPCC promises neither.

    Args:
      n_clusters: K.
      iterations: of training.
      channels: C, width of the networks.
      latent_dim: J.
      resolution: pixels of the networks' side, 8, 16, 32, 64 or 128; None is the smallest not below the images' side.
      batch_size: B, at most N.
      discriminator_steps, encoder_steps: per iteration.
      learning_rate, prior_learning_rate: eta and eta_p.
      variant: "paper" or "released".
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
      model_: the `mpcc_jax.TrainedModel`: reconstructs, generates, interpolates.
      n_iter_: finished iterations.
      n_features_in_: features of a row, H * W * C of images.
      feature_names_in_: if X was a data frame.
      image_shape_: (H, W, C) of the images that rows stand for.
      pixel_range_: values of X that are black and white.
    """

    def __init__(
        self,
        n_clusters=10,
        *,
        iterations=6000,
        channels=4,
        latent_dim=16,
        resolution=None,
        batch_size=50,
        discriminator_steps=1,
        encoder_steps=1,
        learning_rate=4e-4,
        prior_learning_rate=3.2e-3,
        variant="paper",
        image_shape=None,
        pad_features=False,
        config=None,
        random_state=None,
        verbose=False,
    ):
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
        self.image_shape = image_shape
        self.pad_features = pad_features
        self.config = config
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X, y=None):
        """Trains on images, Algorithm 1.

        Args:
          X: images, [N, H, W] or [N, H, W, C], or rows, [N, features].
          y: ignored.

        Returns:
          The estimator.

        Raises:
          ConfigError, DataError, InputError: all ValueErrors, before anything is compiled.
          NonFiniteError: if a loss or a gradient became NaN or infinite.
        """
        rows, shape = self._check_rows(X, reset=True)
        options = {"wanted": self.image_shape, "pad": self.pad_features}
        self.image_shape_ = choose_image_shape(self.n_features_in_, shape, **options)
        self._sample_shape = (self.n_features_in_,) if shape is None else np.shape(X)[1:]
        self.pixel_range_ = (0.0, 255.0) if rows.dtype == np.uint8 else (float(rows.min()), float(rows.max()))
        lowest, highest = self.pixel_range_
        if not 0 < highest - lowest < math.inf:
            raise DataError(f"X goes from {lowest:g} to {highest:g}; allowed: more than one value, of a finite extent.")
        config = make_config(self.get_params(deep=False), min(self.image_shape_[:2]))
        images = draw_rows(rows, self.pixel_range_, self.image_shape_)
        dataset = from_arrays(images, resolution=config.data.resolution, name="X")
        check_parameters(validate_dataset, self.config or {}, config, dataset)
        self._weights = jax.tree.map(np.asarray, self._train(config, dataset.images))
        self._text, self._n_features_out = config.to_json_best_effort(), config.model.latent_dim
        self.n_iter_ = config.training.iterations
        self._model = self._build_model()
        self.labels_ = self._model.predict(dataset.images)
        return self

    def predict(self, X):
        """Clusters: argmax_k q(y = k given z) at the encoder's mean (Eq. 9).

        Args:
          X: images or rows, as those of `fit`.

        Returns:
          Integers in [0, K), [N].
        """
        return self.model_.predict(self._images(X))

    def predict_proba(self, X):
        """Memberships q(y given z) at the encoder's mean (Eq. 9).

        Args:
          X: images or rows, as those of `fit`.

        Returns:
          Probabilities, [N, K].
        """
        return self.model_.predict_proba(self._images(X))

    def transform(self, X):
        """Latents: means of q(z given x).

        Args:
          X: images or rows, as those of `fit`.

        Returns:
          float32, [N, J].
        """
        return self.model_.transform(self._images(X))

    def score_samples(self, X):
        """Log density of the latents under the prior: low for outliers.

        Args:
          X: images or rows, as those of `fit`.

        Returns:
          Nats, [N].
        """
        return self.model_.log_prob(self._images(X))

    def sample(self, n_samples=1, cluster=None):
        """New images by the EMA generator, from `random_state`.

        Args:
          n_samples: how many.
          cluster: a component, integer in [0, K), or [n_samples] of them; None draws them.

        Returns:
          Images or rows, as the X of `fit` was, within `pixel_range_`; and components, integers, [n_samples].

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
    def model_(self):
        """The `TrainedModel`; made anew after unpickling."""
        check_is_fitted(self, "n_iter_")
        if "_model" not in vars(self):
            self._model = self._build_model()
        return self._model

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_model"}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    def _check_rows(self, X, *, reset):
        """X as checked rows, [N, features], and (H, W, C) if it was images."""
        shape = np.shape(X) if isinstance(X, list | tuple) else getattr(X, "shape", ())
        if len(shape) not in (3, 4):
            return validate_data(self, X, reset=reset, ensure_min_samples=2 if reset else 1), None
        rows = np.reshape(np.asarray(X), (shape[0], math.prod(shape[1:])))
        rows = validate_data(self, rows, reset=reset, ensure_min_samples=2 if reset else 1)
        return rows, (*shape[1:], *[1] * (4 - len(shape)))

    def _images(self, X):
        """X of a method after `fit`, as the networks' images."""
        check_is_fitted(self, "n_iter_")
        rows, shape = self._check_rows(X, reset=False)
        if shape not in (None, self.image_shape_):
            raise InputError(f"X holds images of shape {shape}; allowed: {self.image_shape_}, as those of fit.")
        return draw_rows(rows, self.pixel_range_, self.image_shape_)

    def _train(self, config, images):
        """Draws the seed, trains, and returns what was learned."""
        config.seed = _draw_seed(self.random_state)
        training, keys = config.training, split_seed(config.seed)
        text = _program_text(config)
        algorithm, layout = _shared_algorithm(text, images.shape[-1]), _shared_layout(text)
        loader = DeviceLoader(images, None, [keys.data], training.discriminator_steps, training.batch_size, layout)
        noise_key, init_key = layout.replicate_keys(keys.noise), layout.replicate_keys(keys.init)
        trainer = Trainer(algorithm, loader, noise_key, training.iterations_per_call, layout)
        report = _progress(training.iterations) if self.verbose else lambda *_: None
        state, _ = trainer.run(init_state(algorithm, init_key, layout), 0, training.iterations, report)
        return {"params": state.params, "buffers": state.buffers, "ema": state.ema}

    def _build_model(self):
        config = _parse(self._text)
        model = _shared_algorithm(_program_text(config), self.image_shape_[-1]).model
        options = {"iteration": self.n_iter_, "seed": config.seed}
        return TrainedModel(config, model, jax.device_put(Weights(**self._weights)), **options)


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
