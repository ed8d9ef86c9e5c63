"""Scores of a clustering, with labels or without."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Array, Float, Integer
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from scipy.stats import entropy
from sklearn import metrics
from sklearn.metrics.cluster import contingency_matrix

from mpcc_jax.evaluation.encode import Encoding
from mpcc_jax.prior import Mixture

Labels = Integer[np.ndarray, " N"]

SMALLEST_SAMPLE = 2000
SILHOUETTE_SAMPLE = 2000


def choose_sample(count: int, seen: int | float, num_images: int) -> slice | Integer[np.ndarray, " n"]:
    """Chooses which of `count` images a run is scored on: all of them, as in the paper, unless it is a short trial.

    `num_images` is the `config.evaluation.num_images` of that name; 0 is all, or as many as training has seen if that
    is less, at least 2000. Indices are sorted; a slice if it is all of them.
    """
    size = min(count, num_images or max(seen, SMALLEST_SAMPLE))
    if size == count:
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(count, size, replace=False))


def score_encoding(encoding: Encoding, labels: Labels | None, mixture: Mixture) -> tuple[dict, np.ndarray]:
    """Scores the clustering of an encoding; `mixture` is the prior behind its memberships.

    Returns the scores against labels, if there are any, and those without, by name, and the clusters, integers, [N].
    """
    clusters = encoding.log_membership.argmax(axis=-1)
    scores = {} if labels is None else clustering_scores(labels, clusters)
    scores |= unsupervised_scores(encoding.mean, encoding.log_membership, mixture)
    sizes = np.bincount(clusters, minlength=mixture.num_components)
    return {**scores, "evaluated_images": len(clusters), "cluster_sizes": sizes.tolist()}, clusters


def over_seeds(members: Sequence[dict]) -> dict:
    """Returns "mean" and "sd" (n - 1) over runs, each by name, of the scores that are numbers in all runs."""
    names = [name for name in members[0] if all(isinstance(scores[name], int | float) for scores in members)]
    table = {name: [float(scores[name]) for scores in members] for name in names}
    return {
        "mean": {name: float(np.mean(values)) for name, values in table.items()},
        "sd": {name: float(np.std(values, ddof=1)) for name, values in table.items()},
    }


def many_to_one_accuracy(labels: Labels, clusters: Labels) -> float:
    """Accuracy when every cluster stands for its most frequent class (Eq. 11; also called purity)."""
    return float(contingency_matrix(labels, clusters).max(axis=0).sum() / len(labels))


def one_to_one_accuracy(labels: Labels, clusters: Labels) -> float:
    """Accuracy under the best one-to-one assignment of clusters to classes (Hungarian), as later work reports."""
    counts = contingency_matrix(labels, clusters)
    return float(counts[linear_sum_assignment(counts, maximize=True)].sum() / len(labels))


def clustering_scores(labels: Labels, clusters: Labels) -> dict[str, float]:
    """Returns all scores against labels, each 1 at best."""
    return {
        "accuracy_many_to_one": many_to_one_accuracy(labels, clusters),
        "accuracy_one_to_one": one_to_one_accuracy(labels, clusters),
        "nmi": float(metrics.normalized_mutual_info_score(labels, clusters)),
        "ami": float(metrics.adjusted_mutual_info_score(labels, clusters)),
        "ari": float(metrics.adjusted_rand_score(labels, clusters)),
    }


def confusion_matrix(
    labels: Labels, clusters: Labels, num_classes: int, num_clusters: int
) -> Integer[np.ndarray, "classes K"]:
    """Counts the images of every class in every cluster."""
    square = metrics.confusion_matrix(labels, clusters, labels=np.arange(max(num_classes, num_clusters)))
    return square[:num_classes, :num_clusters]


def majorities(
    confusion: Integer[np.ndarray, "classes K"],
) -> tuple[Integer[np.ndarray, " K"], Float[np.ndarray, " K"]]:
    """Finds the most frequent class of every cluster, -1 for an empty one, and its share, NaN for an empty one."""
    sizes = confusion.sum(axis=0)
    shares = np.divide(confusion.max(axis=0), sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
    return np.where(sizes > 0, confusion.argmax(axis=0), -1), shares


def silhouette(latents: Float[np.ndarray, "N J"], clusters: Labels, sample: int = SILHOUETTE_SAMPLE) -> float | None:
    """Mean silhouette under Euclidean distance of a fixed random sample, as all pairs are compared.

    None where it is not defined: a single cluster, or every example its own.
    """
    chosen = np.random.default_rng(0).permutation(len(latents))[:sample]
    latents, clusters = latents[chosen], clusters[chosen]
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return None
    return float(metrics.silhouette_score(latents, clusters))


def prior_overlap(mean: Float[Array | np.ndarray, "K J"], log_var: Float[Array | np.ndarray, "K J"]) -> float | None:
    """Bhattacharyya coefficient, in [0, 1], of the two components that overlap most; None if there is but one."""
    mean, variance = np.asarray(mean, np.float64), np.exp(np.asarray(log_var, np.float64))
    if len(mean) < 2:
        return None
    average = (variance[:, None] + variance[None]) / 2
    logs = np.log(variance).sum(axis=-1)
    distance = np.sum((mean[:, None] - mean[None]) ** 2 / average, axis=-1) / 8
    distance += (np.log(average).sum(axis=-1) - (logs[:, None] + logs[None]) / 2) / 2
    return float(np.exp(-squareform(distance, checks=False).min()))


def unsupervised_scores(
    latents: Float[np.ndarray, "N J"], log_memberships: Float[np.ndarray, "N K"], mixture: Mixture
) -> dict:
    """Returns all scores without labels.

    By name: cluster_entropy (nats; log K if clusters are used alike, 0 if one holds everything), empty_clusters (a
    count), mean_confidence (of the likeliest component, in [1/K, 1]), silhouette, prior_overlap.
    """
    clusters = log_memberships.argmax(axis=-1)
    sizes = np.bincount(clusters, minlength=log_memberships.shape[-1])
    return {
        "cluster_entropy": float(entropy(sizes)),
        "empty_clusters": int((sizes == 0).sum()),
        "mean_confidence": float(np.exp(log_memberships.max(axis=-1)).mean()),
        "silhouette": silhouette(latents, clusters),
        "prior_overlap": prior_overlap(mixture.mean, mixture.marginal_log_var),
    }
