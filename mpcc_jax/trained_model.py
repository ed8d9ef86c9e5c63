"""A trained model in the hand: cluster, encode, reconstruct, generate and interpolate images."""

import functools
import operator
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from mpcc_jax.config import STATISTICS
from mpcc_jax.data.images import as_images
from mpcc_jax.errors import CheckpointError, ConfigError, InputError
from mpcc_jax.evaluation.encode import encode_images, generate_images, generator_buffers
from mpcc_jax.losses import log_membership
from mpcc_jax.prior import draw_latents
from mpcc_jax.training.checkpoints import find_checkpoints, read_checkpoint
from mpcc_jax.training.sharding import member
from mpcc_jax.training.state import build_algorithm, split_seed
from mpcc_jax.workdir import read_run


class Weights(NamedTuple):
    """What training learns, as the functions of `mpcc_jax.evaluation.encode` read it.

    Attributes:
      params, buffers: by part.
      ema: moving averages of the generator's params and buffers.
    """

    params: Any
    buffers: Any
    ema: Any


def as_key(key):
    """A PRNG key from a key or a seed.

    Args:
      key: a key of `jax.random.key`, or an integer.

    Returns:
      A PRNG key.
    """
    return jax.random.key(key) if isinstance(key, int | np.integer) else key


class TrainedModel:
    """MPCC after training. Images go in as `mpcc_jax.data.images.as_images` says and come out in [-1, 1].

    Attributes:
      config: of the run.
      model: the `Model`.
      weights: what was learned.
      iteration: finished iterations of training, or None.
      seed: of the run.
      statistics: of the generator's batch norm, one of `mpcc_jax.config.STATISTICS`.
      batch_size: images per call of the networks; calls are padded to it, so each program compiles once.
    """

    def __init__(self, config, model, weights, *, iteration=None, seed=None, statistics=None, batch_size=100):
        """Args: as the attributes; seed and statistics default to those of the configuration."""
        self.config, self.model, self.iteration = config, model, iteration
        self.weights = Weights(weights.params, weights.buffers, weights.ema)
        self.seed = config.seed if seed is None else seed
        self.statistics = statistics or config.evaluation.statistics
        if self.statistics not in STATISTICS:
            raise InputError(f"statistics is {statistics!r}; allowed: {', '.join(map(repr, STATISTICS))}.")
        if operator.index(batch_size) < 1:
            raise InputError(f"batch_size is {batch_size}; allowed: 1 or more.")
        self.batch_size = batch_size

    @property
    def num_clusters(self):
        """K."""
        return self.model.prior.num_components

    @property
    def image_shape(self):
        """(H, W, C) of the images that come out."""
        return self.model.image_shape

    @functools.cached_property
    def prior(self):
        """The `GaussianMixture` that latents are drawn from."""
        return self.model.prior.sampling_mixture(self.weights.params["prior"])

    @functools.cached_property
    def _buffers(self):
        # The same passes as for the pictures of the run.
        key, _ = jax.random.split(split_seed(self.seed).evaluation)
        passes = (self.config.evaluation.standing_passes, self.config.training.batch_size)
        return generator_buffers(self.model, self.weights, self.statistics, key, *passes)

    def encode(self, images):
        """All that the encoder says.

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          An `Encoding` of NumPy arrays.

        Raises:
          DataError: if the images are not what they should be.
        """
        images = as_images(images, self.model.image_shape)
        return encode_images(self.model, self.weights, images, self.batch_size)

    def predict(self, images):
        """Clusters: argmax_k q(y = k given z) at the encoder's mean (Eq. 9).

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          Integers in [0, K), [N].
        """
        return self.encode(images).log_membership.argmax(axis=-1)

    def predict_proba(self, images):
        """Memberships q(y given z) at the encoder's mean (Eq. 9).

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          Probabilities, [N, K].
        """
        return np.exp(self.encode(images).log_membership)

    def transform(self, images):
        """Latents: means of q(z given x).

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          [N, J].
        """
        return self.encode(images).mean

    def log_prob(self, images):
        """Log density of the latents under the prior: low for outliers.

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          Nats, [N].
        """
        return self.encode(images).log_prob

    def decode(self, z, y=None):
        """Images of latents by the EMA generator, p(x given z, y).

        Args:
          z: latents, [N, J].
          y: components, integers in [0, K), [N] or one for all; None takes the likeliest.

        Returns:
          In [-1, 1], [N, H, W, C].
        """
        z = np.asarray(z, np.float32)
        if z.ndim != 2 or z.shape[1] != self.model.prior.latent_dim or not len(z):
            raise InputError(f"z has shape {z.shape}; allowed: [N, {self.model.prior.latent_dim}] with N above 0.")
        if y is None:
            mixture = self.model.prior.membership_mixture(self.weights.params["prior"])
            y = np.asarray(log_membership(z, mixture)).argmax(axis=-1)
        y, by_batch = self._components("y", y, len(z)), self.statistics == "batch"
        size = self.config.training.batch_size if by_batch else self.batch_size
        return generate_images(self.model, self.weights, self._buffers, z, y, size, batch_statistics=by_batch)

    def reconstruct(self, images):
        """G(E(x)): decodes the encoder's mean, y being the likeliest component.

        Args:
          images: [N, H, W, C] of any size, or a list.

        Returns:
          In [-1, 1], [N, H, W, C].
        """
        encoding = self.encode(images)
        return self.decode(encoding.mean, encoding.log_membership.argmax(axis=-1))

    def draw(self, key, n, cluster=None, truncation=1.0):
        """Latents from the prior.

        Args:
          key: PRNG key or seed.
          n: how many.
          cluster: a component, integer in [0, K), or [n] of them; None draws them.
          truncation: factor on the deviation from the mean of the component; 1 is the prior, 0 its means.

        Returns:
          z, [n, J], and y, integers, [n].
        """
        if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
            raise InputError(f"n is {n!r}; allowed: a whole number, at least 1.")
        if not 0 <= truncation < np.inf:
            raise InputError(
                f"truncation is {truncation!r}; allowed: 0 (means of the components) or more, 1 is the prior."
            )
        latents = draw_latents(as_key(key), (n,), self.model.prior)
        y = np.asarray(latents.y) if cluster is None else self._components("cluster", cluster, n)
        return np.asarray(self.prior.sample(y, truncation * latents.eps)), y

    def generate(self, key, n, cluster=None, truncation=1.0):
        """New images: z from the prior, decoded by the EMA generator.

        Args:
          key: PRNG key or seed.
          n: how many.
          cluster: a component, integer in [0, K), or [n] of them; None draws them.
          truncation: factor on the deviation from the mean of the component; 1 is the prior, less is more typical and
            less varied.

        Returns:
          In [-1, 1], [n, H, W, C].
        """
        return self.decode(*self.draw(key, n, cluster, truncation))

    def interpolate(self, a, b, steps):
        """Images on the straight line between the latents of two images; y is the likeliest component on the way.

        Args:
          a, b: images, [N, H, W, C] of any size, or lists, of equal length.
          steps: images from a to b, both reconstructed ends included.

        Returns:
          In [-1, 1], [N, steps, H, W, C].
        """
        if not isinstance(steps, int | np.integer) or steps < 2:
            raise InputError(f"steps is {steps!r}; allowed: a whole number, at least 2.")
        first, last = self.transform(a), self.transform(b)
        if len(first) != len(last):
            raise InputError(f"a has {len(first)} images and b {len(last)}; allowed: as many in both.")
        line = np.linspace(first, last, steps, axis=1)
        images = self.decode(line.reshape(-1, line.shape[-1]))
        return images.reshape(*line.shape[:2], *images.shape[1:])

    def _components(self, name, y, count):
        y = np.asarray(y)
        if not np.issubdtype(y.dtype, np.integer) or y.shape not in ((), (count,)):
            raise InputError(f"{name} is {y.dtype} of shape {y.shape}; allowed: one integer, or {count} of them.")
        if y.min() < 0 or y.max() >= self.num_clusters:
            raise InputError(f"{name} is {y.min() if y.min() < 0 else y.max()}; allowed: 0 to {self.num_clusters - 1}.")
        return np.broadcast_to(y, (count,)).astype(np.int32)


def load(workdir, iteration=None, seed=None, statistics=None, batch_size=100, report=print):
    """A trained model from the working directory of its run.

    Args:
      workdir: path.
      iteration: which checkpoint; None is the newest that can be read.
      seed: which run, if several were trained at once.
      statistics: of the generator's batch norm, one of `mpcc_jax.config.STATISTICS`; None is the run's
        `config.evaluation.statistics`, by default "standing".
      batch_size: images per call of the networks.
      report: called with a sentence for every damaged checkpoint that is passed over.

    Returns:
      A `TrainedModel`.

    Raises:
      WorkdirError: if there is no run.
      ConfigError: if its configuration is not one of this version, or it has no such seed.
      CheckpointError: if it has no checkpoint, not that one, or none that can be read.
    """
    config, facts = read_run(workdir)
    seeds = list(range(config.seed, config.seed + config.num_seeds))
    if (seed is None and len(seeds) > 1) or (seed is not None and seed not in seeds):
        raise ConfigError(f"seed is {seed}; allowed: one of those that {workdir} has trained, {seeds}.")
    found = find_checkpoints(pathlib.Path(workdir).expanduser() / "checkpoints")
    if not found:
        raise CheckpointError(f"{workdir} has no checkpoint yet.")
    if iteration is not None and iteration not in found:
        raise CheckpointError(f"{workdir} has no checkpoint of iteration {iteration}; there are {list(found)}.")
    for candidate in [iteration] if iteration is not None else reversed(found):
        try:
            weights = Weights(**read_checkpoint(found[candidate]))
            break
        except CheckpointError as error:
            report(str(error))
    else:
        raise CheckpointError(f"none of the checkpoints {list(found)} of {workdir} can be read.")
    weights = member(weights, 0 if seed is None else seed - config.seed) if len(seeds) > 1 else weights
    model = build_algorithm(config, facts["shape"][-1]).model
    options = {"iteration": candidate, "seed": seed, "statistics": statistics, "batch_size": batch_size}
    return TrainedModel(config, model, jax.device_put(weights), **options)
