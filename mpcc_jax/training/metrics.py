"""What is known about a run while it trains: means over a stretch of iterations, and a look at the state."""

import functools

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

from mpcc_jax.data.sampler import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate

PROBE_PER_CLUSTER = 20
SMALLEST_PROBE = 200


def _singular_values(tree):
    """The estimates sigma among the buffers of a network."""
    return [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if path[-1].key == "sigma"]


def probe_size(num_clusters, num_images):
    """How many real images are clustered to see which clusters are in use.

    Args:
      num_clusters: K.
      num_images: in the data set.

    Returns:
      A number, at which a cluster of average size is hardly ever missed by chance.
    """
    return min(num_images, max(SMALLEST_PROBE, PROBE_PER_CLUSTER * num_clusters))


def inspect(model, state, images):
    """A look at a state that needs no labels.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      images: real images, uint8, [N, H, W, C].

    Returns:
      Scalars by name: spectral_norm_* (largest singular value among a network's kernels, by power iteration),
      prior_sigma_min, _mean and _max, probe_cluster_entropy (nats, of the share of images per cluster),
      probe_empty_clusters (a count), probe_mean_confidence.
    """
    networks = {
        "generator": state.buffers["generator"],
        "discriminator": [state.buffers[part] for part in model.discriminator_parts],
        "encoder": [state.buffers[part] for part in model.encoder_parts],
    }
    sigma = jnp.exp(0.5 * model.prior.sampling(state.params["prior"]).log_var)
    (mean, _), _ = encode(model, state.params, state.buffers, to_float(images), train=False)
    memberships = log_membership(mean, model.prior.membership(state.params["prior"]))
    sizes = jnp.bincount(memberships.argmax(axis=-1), length=model.prior.num_components)
    return {
        **{f"spectral_norm_{name}": jnp.max(jnp.stack(_singular_values(tree))) for name, tree in networks.items()},
        "prior_sigma_min": jnp.min(sigma),
        "prior_sigma_mean": jnp.mean(sigma),
        "prior_sigma_max": jnp.max(sigma),
        "probe_cluster_entropy": jnp.sum(jax.scipy.special.entr(sizes / len(images))),
        "probe_empty_clusters": jnp.sum(sizes == 0),
        "probe_mean_confidence": jnp.mean(jnp.exp(jnp.max(memberships, axis=-1))),
    }


def draw_samples(model, state, latents):
    """Images of given draws by the moving average of the generator, with its moving statistics.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      latents: `Latents` of [N] draws.

    Returns:
      Images in [-1, 1], [N, H, W, C].
    """
    y, eps = latents
    z = model.prior.sampling(state.params["prior"]).sample(y, eps)
    params, buffers = {"generator": state.ema["params"]}, {"generator": state.ema["buffers"]}
    return generate(model, params, buffers, z, y, train=False)[0]


class Window:
    """Means of metrics over the calls since it was last read, kept on the device (clu.metrics)."""

    def __init__(self, num_seeds=1):
        """Args: num_seeds: with several runs, metrics are [seeds, iterations]."""
        self._several, self._collection, self._mean = num_seeds > 1, None, None

    def add(self, values):
        """Takes the metrics of a call, without waiting for them.

        Args:
          values: arrays by name, each [(seeds,) iterations].
        """
        accumulate, self._mean = _averages(tuple(sorted(values)), self._several)
        self._collection = accumulate(self._collection, values)

    def read(self):
        """Means by name, on the device, each a scalar or [seeds]; and begins anew.

        Returns:
          Arrays by name.
        """
        collection, self._collection = self._collection, None
        return self._mean(collection)


@functools.cache
def _averages(names, several):
    kind = clu_metrics.Collection.create(**{name: clu_metrics.Average.from_output(name) for name in names})

    def accumulate(collection, values):
        latest = kind.single_from_model_output(**values)
        return latest if collection is None else collection.merge(latest)

    def mean(collection):
        return collection.compute()

    return tuple(jax.jit(jax.vmap(program) if several else program) for program in (accumulate, mean))
