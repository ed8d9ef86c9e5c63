"""Labels that a warm start is conditional on: the clusters of a cheap method, or a file of the user's."""

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from ml_collections import ConfigDict
from sklearn.cluster import AgglomerativeClustering
from sklearn.neighbors import kneighbors_graph

from mpcc_jax.errors import ConfigError

MOST_PAIRED = 10_000  # rows; all distances of more would take gigabytes


def ward(features: Float[np.ndarray, "N D"], num_clusters: int) -> Int[np.ndarray, " N"]:
    """Clusters rows by Ward linkage; of many rows only the ten nearest neighbours of each can be merged."""
    graph = None
    if len(features) > MOST_PAIRED:
        graph = functools.partial(kneighbors_graph, n_neighbors=10, include_self=False)
    return AgglomerativeClustering(num_clusters, linkage="ward", connectivity=graph).fit_predict(features)


def read_warm_labels(path: str, count: int, num_clusters: int) -> Int[np.ndarray, " N"]:
    """Reads a label for each image; ConfigError if they don't fit."""
    allowed = f"'ward', or a .npy file of {count} integers from 0 to {num_clusters - 1}, one for each image"
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
    """Makes a label for each image, as `config.training.warm_labels` says; the true ones have no part in it."""
    chosen, num_clusters = config.training.warm_labels, config.model.num_clusters
    if chosen == "ward":
        labels = ward(images.reshape(len(images), -1) / np.float32(255.0), num_clusters)
    else:
        labels = read_warm_labels(chosen, len(images), num_clusters)
    return labels.astype(np.int32)
