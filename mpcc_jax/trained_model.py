"""Loads a trained model: predict, encode, generate."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from ml_collections import ConfigDict

from mpcc_jax.compilation import check_platform
from mpcc_jax.config import MAX_SEED, STATISTICS
from mpcc_jax.data.images import as_images
from mpcc_jax.errors import CheckpointError, ConfigError, InputError
from mpcc_jax.evaluation.encode import Encoding, encode_images, generate_images, generator_buffers
from mpcc_jax.losses import log_membership
from mpcc_jax.model import Model
from mpcc_jax.prior import Mixture, draw_latents
from mpcc_jax.training.checkpoints import find_checkpoints, read_checkpoint, read_model
from mpcc_jax.training.sharding import select_seed
from mpcc_jax.training.state import build_algorithm, split_seed
from mpcc_jax.workdir import MODEL_FILE, find_run, read_run

# [N, H, W, C] of any size, uint8 or floats in [-1, 1], or a list: see `mpcc_jax.data.images.as_images`.
Images = Array | np.ndarray | Sequence
Components = Int[Array | np.ndarray, "..."] | Sequence[int] | int
Count = int | np.integer


def _in_own_precision(method: Callable) -> Callable:
    """Runs a method as the weights are, float32 in sessions with jax_enable_x64 too."""

    @functools.wraps(method)
    def run(self, *arguments, **options):
        with jax.enable_x64(self.config.training.precision == "float64"):
            return method(self, *arguments, **options)

    return run


class Weights(NamedTuple):
    """What training learns: params and buffers by part, and moving averages of those of the generator."""

    params: dict
    buffers: dict
    ema: dict


class TrainedModel:
    """MPCC after training. Images go in as `Images` says, and come out in [-1, 1].

    The weights are anything with `params`, `buffers` and `ema`; the other arguments are those of `load`.
    """

    def __init__(
        self,
        config: ConfigDict,
        model: Model,
        weights: Any,
        *,
        iteration: int | None = None,
        seed: int | None = None,
        statistics: str | None = None,
        batch_size: int = 100,
    ) -> None:
        self.config, self.model, self.iteration, self.batch_size = config, model, iteration, batch_size
        self.weights = Weights(weights.params, weights.buffers, weights.ema)
        self.seed = config.seed if seed is None else seed
        self.statistics = statistics or config.evaluation.statistics
        if self.statistics not in STATISTICS:
            raise InputError(f"statistics is {statistics!r}; allowed: {', '.join(map(repr, STATISTICS))}.")
        if batch_size < 1:
            raise InputError(f"batch_size is {batch_size}; allowed: 1 or more.")

    @property
    def num_clusters(self) -> int:
        """K."""
        return self.model.prior.num_components

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images that come out."""
        return self.model.image_shape

    @functools.cached_property
    def prior(self) -> Mixture:
        """The mixture that latents are drawn from."""
        return self.model.prior.sampling_mixture(self.weights.params["prior"])

    @functools.cached_property
    def _generator_buffers(self) -> dict:
        key, _ = jax.random.split(split_seed(self.seed).evaluation)  # the passes of the run's own pictures
        passes = (self.config.evaluation.standing_passes, self.config.training.batch_size)
        return generator_buffers(self.model, self.weights, self.statistics, key, *passes)

    @_in_own_precision
    def encode(self, images: Images) -> Encoding:
        """Computes latents, memberships and densities.

        Raises:
          DataError: if the images cannot be used.
        """
        images = as_images(images, self.image_shape, self.config.data.background)
        return encode_images(self.model, self.weights, images, self.batch_size)

    def predict(self, images: Images) -> Int[np.ndarray, " N"]:
        """Clusters images: argmax_k q(y = k given z) at the encoder's mean (Eq. 9)."""
        return self.encode(images).log_membership.argmax(axis=-1)

    def predict_proba(self, images: Images) -> Float[np.ndarray, "N K"]:
        """Computes memberships q(y given z) at the encoder's mean (Eq. 9)."""
        return np.exp(self.encode(images).log_membership)

    def transform(self, images: Images) -> Float[np.ndarray, "N J"]:
        """Computes latents, the means of q(z given x)."""
        return self.encode(images).mean

    def log_prob(self, images: Images) -> Float[np.ndarray, " N"]:
        """Computes the log density of the latents under the prior, in nats: low for outliers."""
        return self.encode(images).log_prob

    @_in_own_precision
    def decode(self, z: Float[Array | np.ndarray, "N J"], y: Components | None = None) -> Float[np.ndarray, "N H W C"]:
        """Decodes latents by the EMA generator, p(x given z, y); y None is the likeliest component."""
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.model.prior.latent_dim or not len(z):
            raise InputError(f"z has shape {z.shape}; allowed: [N, {self.model.prior.latent_dim}] with N above 0.")
        if y is None:
            mixture = self.model.prior.membership_mixture(self.weights.params["prior"])
            y = np.asarray(log_membership(z, mixture)).argmax(axis=-1)
        y, by_batch = self._check_components("y", y, len(z)), self.statistics == "batch"
        size = self.config.training.batch_size if by_batch else self.batch_size
        return generate_images(self.model, self.weights, self._generator_buffers, z, y, size, batch_statistics=by_batch)

    def reconstruct(self, images: Images) -> Float[np.ndarray, "N H W C"]:
        """Computes G(E(x)): decodes the encoder's mean by the likeliest component."""
        encoding = self.encode(images)
        return self.decode(encoding.mean, encoding.log_membership.argmax(axis=-1))

    @_in_own_precision
    def draw(
        self, key: Array | Count, n: Count, cluster: Components | None = None, truncation: float = 1.0
    ) -> tuple[Float[np.ndarray, "n J"], Int[np.ndarray, " n"]]:
        """Draws n latents and their components from the prior.

        Args:
          key: PRNG key, or a seed.
          n: how many.
          cluster: one component, or n of them; None draws them.
          truncation: factor on the deviation from the component's mean; 1 is the prior, 0 its means.
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n is {n!r}; allowed: a whole number, at least 1.")
        if isinstance(key, Count) and not 0 <= key <= MAX_SEED:
            raise InputError(f"key is {key}; allowed: a key of jax, or a seed from 0 to {MAX_SEED}.")
        if not 0 <= truncation < np.inf:
            raise InputError(
                f"truncation is {truncation!r}; allowed: 0 (means of the components) or more, 1 is the prior."
            )
        latents = draw_latents(key if isinstance(key, Array) else jax.random.key(key), (n,), self.model.prior)
        y = (
            np.asarray(self.prior.components(latents.y))
            if cluster is None
            else self._check_components("cluster", cluster, n)
        )
        return np.asarray(self.prior.sample(y, truncation * latents.eps)), y

    def generate(
        self, key: Array | Count, n: Count, cluster: Components | None = None, truncation: float = 1.0
    ) -> Float[np.ndarray, "n H W C"]:
        """Generates n images: decodes what `draw` draws."""
        return self.decode(*self.draw(key, n, cluster, truncation))

    def interpolate(self, a: Images, b: Images, steps: Count) -> Float[np.ndarray, "N steps H W C"]:
        """Decodes points on the straight lines between latents of images, both ends included."""
        if not isinstance(steps, int | np.integer) or steps < 2:
            raise InputError(f"steps is {steps!r}; allowed: a whole number, at least 2.")
        first, last = self.transform(a), self.transform(b)
        if len(first) != len(last):
            raise InputError(f"a has {len(first)} images and b {len(last)}; allowed: as many in both.")
        lines = np.linspace(first, last, steps, axis=1)
        images = self.decode(lines.reshape(-1, lines.shape[-1]))
        return images.reshape(*lines.shape[:2], *images.shape[1:])

    def _check_components(self, name: str, y: Any, count: int) -> Int[np.ndarray, " {count}"]:
        y = np.asarray(y)
        if not np.issubdtype(y.dtype, np.integer) or y.shape not in ((), (count,)):
            raise InputError(f"{name} is {y.dtype} of shape {y.shape}; allowed: one integer, or {count} of them.")
        if y.min() < 0 or y.max() >= self.num_clusters:
            raise InputError(f"{name} is {y.min() if y.min() < 0 else y.max()}; allowed: 0 to {self.num_clusters - 1}.")
        return np.broadcast_to(y, (count,)).astype(np.int32)


def load(
    workdir: str | pathlib.Path,
    iteration: int | None = None,
    seed: int | None = None,
    statistics: str | None = None,
    batch_size: int = 100,
    warn: Callable[[str], None] = print,
) -> TrainedModel:
    """Loads a trained model from the folder of its run.

    Args:
      workdir: of the run or of an exported model, or the name of a model that comes with the package: "digits".
      iteration: of the checkpoint; None is the newest that can be read.
      seed: which of the seeds that were trained at once.
      statistics: of the generator's batch norm, "standing", "running" or "batch"; None is that of the configuration.
      batch_size: images per call of the networks.
      warn: called with a sentence for every damaged checkpoint.

    Raises:
      WorkdirError: if there is no run.
      ConfigError: if its configuration is not one of this version, or it has no such seed.
      CheckpointError: if it has no such checkpoint, or none that can be read.
    """
    check_platform()
    config, facts = read_run(workdir)
    seeds = list(range(config.seed, config.seed + config.num_seeds))
    if seed not in seeds and (seed is not None or len(seeds) > 1):
        raise ConfigError(f"seed is {seed}; allowed: one of those that {workdir} has trained, {seeds}.")
    learned, iteration = _read_weights(find_run(workdir), iteration, warn)
    weights = Weights(**learned)
    weights = select_seed(weights, seeds.index(seed)) if len(seeds) > 1 else weights
    model = build_algorithm(config, facts["shape"][-1]).model
    options = {"iteration": iteration, "seed": seed, "statistics": statistics, "batch_size": batch_size}
    return TrainedModel(config, model, jax.device_put(weights), **options)


def _read_weights(workdir: pathlib.Path, iteration: int | None, warn: Callable[[str], None]) -> tuple[dict, int]:
    """Reads an exported model, or the newest checkpoint of a run that can be read; returns its iteration too."""
    if (workdir / MODEL_FILE).exists():
        learned, found = read_model(workdir)
        if iteration not in (None, found):
            raise CheckpointError(f"{workdir} has the weights of iteration {found}, and not of {iteration}.")
        return learned, found
    folders = find_checkpoints(workdir / "checkpoints")
    if not folders:
        raise CheckpointError(f"{workdir} has no checkpoint yet.")
    if iteration is not None and iteration not in folders:
        raise CheckpointError(f"{workdir} has no checkpoint of iteration {iteration}; there are {list(folders)}.")
    for candidate in reversed(folders) if iteration is None else [iteration]:
        try:
            return read_checkpoint(folders[candidate]), candidate
        except CheckpointError as error:
            warn(str(error))
    raise CheckpointError(f"none of the checkpoints {list(folders)} of {workdir} can be read.")
