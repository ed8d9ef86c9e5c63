"""What is known about a run while it trains: means over some iterations, a look at the state, signs of collapse."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metrics as clu_metrics
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from mpcc_jax.compilation import compiler_options
from mpcc_jax.data.loader import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import Model, encode, generate
from mpcc_jax.prior import Latents, draw_latents
from mpcc_jax.training.sharding import Layout
from mpcc_jax.training.state import TrainState

PROBE_PER_CLUSTER = 20
SMALLEST_PROBE = 200
SHEET_CLUSTERS = 32
SHEET_COLUMNS = 8
SATURATING = ("hinge", "non_saturating", "least_squares")


def probe_size(num_clusters: int, num_images: int) -> int:
    """Returns how many real images are clustered to see which clusters are in use."""
    return min(num_images, max(SMALLEST_PROBE, PROBE_PER_CLUSTER * num_clusters))


def inspect(model: Model, state: TrainState, images: UInt8[Array, "N H W C"]) -> dict[str, Array]:
    """Returns scalars that need no labels: largest singular values, the prior's sigma, how the probe is clustered."""
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
        **_weights(model, state),
        "probe_cluster_entropy": jnp.sum(jax.scipy.special.entr(sizes / len(images))),
        "probe_empty_clusters": jnp.sum(sizes == 0),
        "probe_mean_confidence": jnp.mean(jnp.exp(jnp.max(memberships, axis=-1))),
    }


def _weights(model: Model, state: TrainState) -> dict[str, Array]:
    if not model.prior.learns_weights:
        return {}
    weights = jnp.exp(model.prior.log_weights(state.params["prior"]))
    return {"prior_weight_min": jnp.min(weights), "prior_weight_max": jnp.max(weights)}


def _singular_values(tree: Any) -> list[Array]:
    return [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if path[-1].key == "sigma"]


def draw_samples(model: Model, state: TrainState, latents: Latents) -> Float[Array, "N H W C"]:
    """Generates images of fixed draws by the moving average of the generator, with its moving statistics."""
    y, eps = latents
    z = model.prior.sampling_mixture(state.params["prior"]).sample(y, eps)
    params, buffers = {"generator": state.ema["params"]}, {"generator": state.ema["buffers"]}
    return generate(model, params, buffers, z, y, train=False)[0]


def choose_latents(model: Model, key: jax.Array) -> Latents:
    """Returns the fixed draws behind the sample sheets: a row of `SHEET_COLUMNS` per component."""
    components = model.prior.num_components
    rows = np.linspace(0, components - 1, min(components, SHEET_CLUSTERS)).astype(np.int32)
    y = np.repeat(rows, SHEET_COLUMNS)
    return Latents(y, np.asarray(_draw_eps(model, y.shape)(key)))


@functools.lru_cache(maxsize=8)
def _draw_eps(model: Model, shape: tuple[int, ...]) -> Callable[[jax.Array], Array]:
    return jax.jit(lambda key: draw_latents(key, shape, model.prior).eps)


@functools.lru_cache(maxsize=8)
def compile_on_state(function: Callable, model: Model, layout: Layout) -> Callable:
    """Returns `inspect` or `draw_samples` as a jitted function of the state of all seeds, and one other argument."""
    program = functools.partial(function, model)
    if layout.num_seeds > 1:
        program = jax.vmap(program, in_axes=(0, None))
    return jax.jit(program, out_shardings=layout.replicated, compiler_options=compiler_options())


class Window:
    """Means of metrics over the calls since it was last read, kept on the device (clu.metrics)."""

    def __init__(self, num_seeds: int = 1):
        """With several seeds, metrics are [seeds, iterations]."""
        self._several, self._collection, self._mean = num_seeds > 1, None, None

    def add(self, values: dict[str, Array]) -> None:
        """Takes the metrics of a call, without waiting for them."""
        accumulate, self._mean = _averages(tuple(sorted(values)), self._several)
        self._collection = accumulate(self._collection, values)

    def read(self) -> dict[str, Array]:
        """Returns means by name, on the device, each a scalar or [seeds]; and begins anew."""
        collection, self._collection = self._collection, None
        return self._mean(collection)


@functools.cache
def _averages(names: tuple[str, ...], several: bool) -> tuple[Callable, Callable]:
    kind = clu_metrics.Collection.create(**{name: clu_metrics.Average.from_output(name) for name in names})

    def accumulate(collection, values):
        latest = kind.single_from_model_output(**values)
        return latest if collection is None else collection.merge(latest)

    def mean(collection):
        return collection.compute()

    return tuple(jax.jit(jax.vmap(program) if several else program) for program in (accumulate, mean))


def signs_of_collapse(config: ConfigDict, values: dict[str, float]) -> dict[str, str | None]:
    """Returns, by name of the sign, a sentence if a line of the log shows it, else None."""
    limits, clusters, sigma_min = config.alarms, config.model.num_clusters, config.prior.sigma_min
    empty = values["probe_empty_clusters"]
    sigma_mean, sigma_max = values["prior_sigma_mean"], values["prior_sigma_max"]
    loss = values["discriminator_loss_real"] + values["discriminator_loss_fake"]
    mixture, saturating = config.prior.family != "standard_normal", config.loss.adversarial in SATURATING
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
    return {name: sentence if present else None for name, (present, sentence) in signs.items()}


class Alarms:
    """Remembers which signs of collapse are there, so that each is reported once when it has come to stay."""

    def __init__(self, config: ConfigDict):
        """Watches one run of a configuration."""
        self._config, self._seen, self._reported = config, {}, set()

    def check(self, iteration: int, values: dict[str, float]) -> tuple[dict[str, int], list[str]]:
        """Returns alarm_* flags for a line of the log, and a sentence for each alarm that is new or over."""
        patience, sentences = self._config.alarms.patience, []
        signs = signs_of_collapse(self._config, values)
        for name, sentence in signs.items():
            present = iteration >= self._config.alarms.after and sentence
            self._seen[name] = self._seen.get(name, 0) + 1 if present else 0
            if self._seen[name] == patience:
                self._reported.add(name)
                sentences.append(f"iteration {iteration}: {sentence} ({patience} lines of the log in a row).")
            if not present and name in self._reported:
                self._reported.remove(name)
                sentences.append(f"iteration {iteration}: the alarm about {name.replace('_', ' ')} is over.")
        return {f"alarm_{name}": int(name in self._reported) for name in signs}, sentences
