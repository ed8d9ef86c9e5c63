"""Scores a trained model on real images: the one place that does it, wherever scores are made."""

import dataclasses
import datetime
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Integer, UInt8
from scipy.optimize import lsq_linear

from mpcc_jax.data.dataset import Dataset
from mpcc_jax.data.loader import to_float
from mpcc_jax.errors import InputError
from mpcc_jax.evaluation.encode import Encoding, encode_images
from mpcc_jax.evaluation.scores import Labels, confusion_matrix, majorities, score_encoding
from mpcc_jax.model import Model

BLOCK = 2000
LATENT_SAMPLE = 5000


@dataclasses.dataclass(frozen=True, eq=False)
class Evaluation:
    """Scores of a model on N images, and what they are computed from.

    Beside numbers, scores hold "cluster_sizes"; phi as "prior_weights" and as `match_weights` has it; "majorities",
    [class name, share] of every cluster or None where it is empty; "confusion", counts by class and cluster;
    "class_names". The last three are None without labels.
    """

    scores: dict  # by name, what JSON can hold
    encoding: Encoding
    clusters: np.ndarray  # integers, [N]


def evaluate_clustering(
    model: Model, weights: Any, images: UInt8[np.ndarray, "N H W C"], labels: Labels | None, batch_size: int
) -> tuple[dict, np.ndarray]:
    """Scores the clustering of images alone, for evaluations during training; results as of `score_encoding`."""
    encoding = encode_images(model, weights, images, batch_size)
    return score_encoding(encoding, labels, model.prior.membership_mixture(weights.params["prior"]))


def evaluate(
    trained: Any, dataset: Dataset, chosen: slice | Integer[np.ndarray, " n"] = slice(None), key: Array | int = 0
) -> Evaluation:
    """Scores a `TrainedModel` on the chosen images of a data set (all, as in the paper); `key` draws the latents.

    Raises InputError if the images are not of the model's size.
    """
    if dataset.images.shape[1:] != trained.image_shape:
        raise InputError(f"images are {dataset.images.shape[1:]}; allowed: {trained.image_shape}, those of the model.")
    images, labels = dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen]
    encoding = trained.encode(images)
    mixture = trained.model.prior.membership_mixture(trained.weights.params["prior"])
    scores, clusters = score_encoding(encoding, labels, mixture)
    scores["reconstruction_mse"] = reconstruction_mse(trained, images, encoding)
    cycle, confusion = cycle_scores(trained, key)
    scores |= cycle
    scores["prior_weights"] = np.exp(np.asarray(trained.prior.log_weights, np.float64)).tolist()
    scores["matched_weights"] = match_weights(confusion, scores["cluster_sizes"]).tolist()
    scores |= dict.fromkeys(("majorities", "confusion", "class_names"))
    if labels is not None:
        names = list(dataset.class_names or map(str, range(len(dataset.class_sizes))))
        confusion = confusion_matrix(labels, clusters, len(names), trained.num_clusters)
        shares = zip(*majorities(confusion), strict=True)
        scores["majorities"] = [None if index < 0 else [names[index], float(share)] for index, share in shares]
        scores |= {"confusion": confusion.tolist(), "class_names": names}
    return Evaluation(scores, encoding, clusters)


def reconstruction_mse(trained: Any, images: UInt8[np.ndarray, "N H W C"], encoding: Encoding) -> float:
    """Mean squared error of G(E(x)) over images and pixels in [-1, 1] (table 1)."""
    total, clusters = 0.0, encoding.log_membership.argmax(axis=-1)
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        decoded = trained.decode(encoding.mean[block], clusters[block])
        total += float(np.sum((decoded - np.asarray(to_float(images[block]))) ** 2, dtype=np.float64))
    return total / images.size


def cycle_scores(
    trained: Any, key: Array | int, count: int = LATENT_SAMPLE
) -> tuple[dict[str, float], Integer[np.ndarray, "K K"]]:
    """Compares E(G(z, y)) with z and y drawn from the prior; returns scores, and counts by y and the cluster found.

    "latent_mse" is the squared distance of z and the encoder's mean, summed over J and averaged over draws (E_MSE in
    the released code); "generated_cluster_accuracy" the fraction of draws whose component is found again.
    """
    z, y = trained.draw(key, count)
    squares, found = 0.0, np.empty_like(y)
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        encoding = trained.encode(trained.decode(z[block], y[block]))
        squares += float(np.sum((encoding.mean - z[block]) ** 2, dtype=np.float64))
        found[block] = encoding.log_membership.argmax(axis=-1)
    confusion = confusion_matrix(y, found, trained.num_clusters, trained.num_clusters)
    return {"latent_mse": squares / count, "generated_cluster_accuracy": float(np.mean(found == y))}, confusion


def match_weights(confusion: Integer[np.ndarray, "K K"], sizes: Sequence[int]) -> Float[np.ndarray, " K"]:
    """Estimates phi of real images: the weights of y that would give their clusters by what E makes of generated ones.

    It is right even where E mistakes one component for another (BBSE: Lipton, Wang and Smola, ICML 2018).
    """
    # One more draw of each component, found again: without it a cluster that none was put into has no solution.
    draws = confusion + np.eye(len(confusion))
    found = draws / draws.sum(axis=1, keepdims=True)
    weights = lsq_linear(found.T, np.asarray(sizes) / np.sum(sizes), bounds=(0.0, np.inf)).x
    return weights / weights.sum()


def describe(trained: Any, **facts: Any) -> dict:
    """Describes what a score was measured with, as JSON holds it; `facts` (machine, versions) are added as they are."""
    return {
        "iteration": trained.iteration,
        "seed": trained.seed,
        "variant": trained.config.variant,
        "generator": {"weights": "moving average", "statistics": trained.statistics},
        "encoder": {"weights": "online"},
        "date": datetime.date.today().isoformat(),
        **facts,
    }
