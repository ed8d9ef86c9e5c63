"""Gathers from a trained model and its evaluation all that the report shows."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Array, Float, Integer

from mpcc_jax.data.dataset import Dataset
from mpcc_jax.evaluation.evaluate import Evaluation
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.prior import Mixture
from mpcc_jax.report.findings import Findings
from mpcc_jax.trained_model import TrainedModel

MAP_SAMPLE = 5000
SHOWN = 8
SHOWN_OUTLIERS = 24
SHOWN_RECONSTRUCTIONS = 40
ROWS = 6
STEPS = 9
# Scores that are no numbers have fields of their own.
TABLES = ("cluster_sizes", "majorities", "confusion", "class_names", "prior_weights", "matched_weights")

_component_log_prob = jax.jit(Mixture.component_log_prob)


def find_extremes(
    own_log_prob: Float[np.ndarray, " N"], clusters: Integer[np.ndarray, " N"], num_clusters: int, count: int = SHOWN
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Finds at most `count` of the most and of the least typical examples of every cluster; none is in both.

    `own_log_prob` is the log density of every example under its own component.
    """
    typical, atypical = [], []
    for cluster in range(num_clusters):
        members = np.flatnonzero(clusters == cluster)
        members = members[np.argsort(-own_log_prob[members], kind="stable")]
        half = min(count, (len(members) + 1) // 2)
        typical.append(members[:half])
        atypical.append(members[half:][::-1][:count])
    return typical, atypical


def read_history(path: str | Path, seed: int | None = None) -> dict[str, tuple]:
    """Reads the numbers in a run's metrics.jsonl: arrays (iterations, values) by name; of one seed, if given."""
    history, path = {}, Path(path).expanduser()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            values = json.loads(line)
        except ValueError:  # a kill leaves half a line
            continue
        if seed is not None and values.get("seed", seed) != seed:
            continue
        iteration = values.pop("iteration")
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed":
                history.setdefault(name, []).append((iteration, value))
    return {name: tuple(np.asarray(series).T) for name, series in history.items()}


def gather_findings(
    evaluation: Evaluation,
    trained: TrainedModel,
    dataset: Dataset,
    chosen: slice | Integer[np.ndarray, " n"],
    *,
    title: str,
    generation: Mapping | None,
    history: Mapping,
    config: Mapping,
    environment: Mapping,
    members: Sequence[dict] = (),
    key: Array | int = 0,
) -> Findings:
    """Gathers all that the report shows.

    Args:
      evaluation: of the chosen images.
      trained: the model.
      dataset: what it was evaluated on.
      chosen: indices of the images that were evaluated.
      title, generation, history, config, environment, members: fields of `Findings`.
      key: PRNG key or seed of the generated images.
    """
    encoding, clusters, scores = evaluation.encoding, evaluation.clusters, evaluation.scores
    images, labels = dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen]
    num_clusters, rng = trained.num_clusters, np.random.default_rng(0)
    mixture = trained.model.prior.membership_mixture(trained.weights.params["prior"])
    own = np.asarray(_component_log_prob(mixture, encoding.mean))[np.arange(len(images)), clusters]
    typical, atypical = find_extremes(own, clusters, num_clusters)
    rare = np.argsort(encoding.log_prob, kind="stable")[:SHOWN_OUTLIERS]
    per_cluster = max(SHOWN_RECONSTRUCTIONS // num_clusters, 1)
    shuffled = [rng.permutation(np.flatnonzero(clusters == cluster)) for cluster in range(num_clusters)]
    originals = images[np.concatenate([rows[:per_cluster] for rows in shuffled])]
    mapped = np.sort(rng.permutation(len(images))[:MAP_SAMPLE])
    ends = rng.permutation(len(images))[: 2 * min(ROWS, len(images) // 2)].reshape(2, -1)
    paths = to_uint8(trained.interpolate(images[ends[0]], images[ends[1]], STEPS)) if ends.size else None
    samples = to_uint8(trained.generate(key, num_clusters * SHOWN, np.repeat(np.arange(num_clusters), SHOWN)))
    return Findings(
        title=title,
        iteration=trained.iteration,
        data={"name": dataset.name, "version": dataset.version, "split": dataset.split, "count": len(dataset.images)},
        scores={name: value for name, value in scores.items() if name not in TABLES},
        cluster_sizes=np.asarray(scores["cluster_sizes"]),
        samples=samples.reshape(num_clusters, SHOWN, *samples.shape[1:]),
        generation=generation,
        majorities=scores["majorities"] and [row and tuple(row) for row in scores["majorities"]],
        typical=[images[rows] for rows in typical],
        atypical=[images[rows] for rows in atypical],
        originals=originals,
        reconstructions=to_uint8(trained.reconstruct(originals)),
        outliers=images[rare],
        outlier_log_probs=encoding.log_prob[rare],
        interpolations=paths,
        confusion=None if scores["confusion"] is None else np.asarray(scores["confusion"]),
        class_names=scores["class_names"],
        latents=encoding.mean[mapped],
        clusters=clusters[mapped],
        labels=None if labels is None else labels[mapped],
        prior_mean=np.asarray(mixture.mean),
        prior_std=np.exp(0.5 * np.asarray(mixture.marginal_log_var)),
        history=history,
        config=config,
        environment=environment,
        members=members,
    )
