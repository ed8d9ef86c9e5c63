"""What is known about a run while it trains: means over a stretch of iterations, and a look at the state."""

import functools

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics

from mpcc_jax.data.loader import to_float
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
    sigma = jnp.exp(0.5 * model.prior.sampling_mixture(state.params["prior"]).log_var)
    (mean, _), _ = encode(model, state.params, state.buffers, to_float(images), train=False)
    memberships = log_membership(mean, model.prior.membership_mixture(state.params["prior"]))
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
    z = model.prior.sampling_mixture(state.params["prior"]).sample(y, eps)
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


SATURATING = ("hinge", "non_saturating", "least_squares")


def signs_of_collapse(config, values):
    """Which signs of collapse a line of the log shows.

    Args:
      config: the configuration.
      values: means of the metrics and the look at the state, by name.

    Returns:
      By name of the sign, a sentence if it is there, else None.
    """
    limits, clusters, sigma_min = config.alarms, config.model.num_clusters, config.prior.sigma_min
    empty = values["probe_empty_clusters"]
    sigma_mean, sigma_max = values["prior_sigma_mean"], values["prior_sigma_max"]
    loss = values["discriminator_loss_real"] + values["discriminator_loss_fake"]
    mixture, saturating = config.prior.kind == "gaussian_mixture", config.loss.adversarial in SATURATING
    signs = {
        "dead_clusters": (clusters > 1 and empty > 0, f"{empty:.0f} of {clusters} clusters hold no image"),
        "sigma_at_floor": (
            mixture and sigma_mean <= limits.sigma_floor_ratio * sigma_min,
            f"the prior's sigma is {sigma_mean:.3f} on average, at its floor of {sigma_min}",
        ),
        "sigma_running_away": (
            mixture and sigma_max > limits.sigma_max,
            f"the prior's sigma has reached {sigma_max:.1f}",
        ),
        "discriminator_saturated": (
            saturating and loss < limits.discriminator_loss,
            f"the discriminator tells all images apart (its losses add up to {loss:.4f}): the generator learns little",
        ),
    }
    return {name: sentence if is_there else None for name, (is_there, sentence) in signs.items()}


class Alarms:
    """Remembers which signs are there, so that each is reported once when it has come to stay."""

    def __init__(self, config):
        """Args: config: the configuration."""
        self._config, self._seen, self._reported = config, {}, set()

    def check(self, iteration, values):
        """Looks at a line of the log.

        Args:
          iteration: finished iterations.
          values: by name.

        Returns:
          alarm_* by name, 1 while a sign is there and reported, else 0; and a sentence for each that is new or over.
        """
        patience, sentences = self._config.alarms.patience, []
        signs = signs_of_collapse(self._config, values)
        for name, sentence in signs.items():
            known = iteration >= self._config.alarms.after and sentence
            self._seen[name] = self._seen.get(name, 0) + 1 if known else 0
            if self._seen[name] == patience:
                self._reported.add(name)
                sentences.append(f"iteration {iteration}: {sentence} ({patience} lines of the log in a row).")
            if not known and name in self._reported:
                self._reported.remove(name)
                sentences.append(f"iteration {iteration}: the alarm about {name.replace('_', ' ')} is over.")
        return {f"alarm_{name}": int(name in self._reported) for name in signs}, sentences
