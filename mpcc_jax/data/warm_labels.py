"""Labels that a warm start is conditional on: clusters of a t-SNE map, or a file of the user's."""

from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict
from scipy.sparse import csr_array
from sklearn.cluster import AgglomerativeClustering
from sklearn.manifold import TSNE

from mpcc_jax.augmentation import Augmentation, tangents
from mpcc_jax.config import resolve_augmentation
from mpcc_jax.errors import ConfigError, DataError

MOST_MAPPED = 5000  # images; distances between twice as many take four times the memory
NEIGHBORS, PERPLEXITY = 10, 30.0
BLOCK = 500  # images
_LEAST = 1e-3  # of a squared tangent, where images are in [-1, 1]: one of zero counts as none


def _pixels(images: UInt8[np.ndarray, "n H W C"]) -> Float[np.ndarray, "n H W C"]:
    return images / np.float32(127.5) - 1


def _directions(images: UInt8[np.ndarray, "n H W C"], augmentation: Augmentation) -> Float[np.ndarray, "T n D"]:
    """Returns an orthonormal basis of each image's tangents."""
    move = jax.jit(tangents, static_argnums=0)
    moved = np.concatenate([move(augmentation, _pixels(images[i : i + BLOCK])) for i in range(0, len(images), BLOCK)])
    moved = moved.reshape(*moved.shape[:2], -1)
    moved = moved[:, moved.any((0, 2))]
    least = _LEAST * np.eye(moved.shape[1], dtype=np.float32)
    return (np.linalg.inv(np.linalg.cholesky(moved @ moved.swapaxes(1, 2) + least)) @ moved).swapaxes(0, 1)


def tangent_distances(
    rows: Float[np.ndarray, "n D"], others: Float[np.ndarray, "m D"], directions: Float[np.ndarray, "T m D"]
) -> Float[np.ndarray, "n m"]:
    """Returns distances of rows from the planes that are through the others along their directions."""
    square = (rows**2).sum(1)[:, None] + (others**2).sum(1) - 2.0 * rows @ others.T
    for direction in directions:
        square -= (rows @ direction.T - (others * direction).sum(1)) ** 2
    return np.sqrt(np.maximum(square, 0.0))


def cluster_map(
    images: UInt8[np.ndarray, "N H W C"],
    num_clusters: int,
    augmentation: Augmentation,
    seed: int = 0,
    linkage: str = "ward",
) -> Int[np.ndarray, " N"]:
    """Clusters images by linkage in a t-SNE map of at most 5000, drawn by the seed; the others follow neighbours.

    Every image is linked to the ten mapped ones at the least tangent distance: from what the augmentation makes of
    them, to first order. A double step leads from a mapped image to one that is linked to it, and on along its links.
    Mapped images are alike if four double steps join them. Rounding, and with it the processor and the number of
    threads, can change the map. Raises DataError if fewer images differ than there are clusters.

    References:
      Simard, LeCun and Denker. Efficient Pattern Recognition Using a New Transformation Distance. NIPS 1992.
      Pezzotti, Höllt, Lelieveldt, Eisemann and Vilanova. Hierarchical Stochastic Neighbor Embedding. EuroVis 2016.
    """
    mapped = np.unique(images[np.random.default_rng(seed).permutation(len(images))[:MOST_MAPPED]], axis=0)
    count, neighbors = len(mapped), min(NEIGHBORS, len(mapped))
    if count < max(num_clusters, 2):
        raise DataError(f"images are too few or too alike for {num_clusters} clusters: {count} of them differ.")
    others, directions = _pixels(mapped).reshape(count, -1), _directions(mapped, augmentation)
    columns, distances = [], []
    for i in range(0, len(images), BLOCK):
        block = _pixels(images[i : i + BLOCK])
        between = tangent_distances(block.reshape(len(block), -1), others, directions)
        columns.append(np.argpartition(between, neighbors - 1)[:, :neighbors])
        distances.append(np.take_along_axis(between, columns[-1], 1))

    def link(weights):
        starts = np.arange(0, weights.size + 1, neighbors)
        return csr_array((weights.ravel(), np.concatenate(columns).ravel(), starts), (len(images), count))

    links = link(np.ones((len(images), neighbors), np.float32))
    links /= np.sqrt(links.sum(0))
    step = (links.T @ links).toarray() / neighbors
    # The cosine of two rows of the second power is the fourth power's entry, scaled.
    tsne = TSNE(metric="cosine", init="random", random_state=seed, max_iter=500, perplexity=min(PERPLEXITY, count / 4))
    found = AgglomerativeClustering(num_clusters, linkage=linkage).fit_predict(tsne.fit_transform(step @ step))
    votes = link(1.0 / np.maximum(np.concatenate(distances), 1e-3)) @ np.eye(num_clusters, dtype=np.float32)[found]
    return votes.argmax(1)


def read_warm_labels(path: str, count: int, num_clusters: int) -> Int[np.ndarray, " N"]:
    """Reads a label for each image; ConfigError if they don't fit."""
    allowed = f"'tsne', or a .npy file of {count} integers from 0 to {num_clusters - 1}, one for each image"
    wrong = f"config.training.warm_labels is {path!r}; allowed: {allowed}"
    try:
        labels = np.load(Path(path).expanduser(), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{wrong} ({' '.join(str(error).split())}).") from error
    if not isinstance(labels, np.ndarray) or labels.shape != (count,) or labels.dtype.kind not in "iu":
        found = f"{labels.dtype} of shape {labels.shape}" if isinstance(labels, np.ndarray) else "an archive"
        raise ConfigError(f"{wrong}; it holds {found}.")
    if count and (labels.min() < 0 or labels.max() >= num_clusters):
        raise ConfigError(f"{wrong}; it holds {labels.min()} to {labels.max()}.")
    return labels


def make_warm_labels(config: ConfigDict, images: UInt8[np.ndarray, "N H W C"]) -> Int[np.ndarray, " N"]:
    """Makes a label for each image, as `config.training.warm_labels` says; the true ones have no part in it.

    Ward linkage splits large clusters and merges small ones, so it is used only where phi is uniform.
    """
    chosen, num_clusters = config.training.warm_labels, config.model.num_clusters
    if chosen == "tsne":
        linkage = "ward" if config.prior.weights == "uniform" else "average"
        labels = cluster_map(images, num_clusters, Augmentation(**resolve_augmentation(config)), linkage=linkage)
    else:
        labels = read_warm_labels(chosen, len(images), num_clusters)
    return labels.astype(np.int32)
