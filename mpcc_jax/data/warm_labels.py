"""Labels that a warm start is conditional on: clusters of a t-SNE map, or a file of the user's."""

from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from ml_collections import ConfigDict
from sklearn.cluster import AgglomerativeClustering
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

from mpcc_jax.errors import ConfigError, DataError

MOST_MAPPED = 5000  # rows; a map of twice as many takes three times as long, and is hardly better
PERPLEXITY, NEIGHBORS = 30.0, 10
BLOCK = 10_000


def _as_features(rows: Shaped[np.ndarray, "n ..."]) -> Float[np.ndarray, "n D"]:
    return rows.reshape(len(rows), -1) / np.float32(255.0) if rows.dtype == np.uint8 else rows


def cluster_map(
    rows: UInt8[np.ndarray, "N H W C"] | Float[np.ndarray, "N D"], num_clusters: int, seed: int = 0
) -> Int[np.ndarray, " N"]:
    """Clusters images or rows by Ward linkage in a t-SNE map; of more than 5000, those not drawn follow ten neighbours.

    The map starts from principal components, so the seed draws the rows alone. Rounding, and with it the processor and
    the number of threads, can change the map. Raises DataError if all rows are equal.

    References:
      van der Maaten and Hinton. Visualizing Data using t-SNE. JMLR 2008.
    """
    count = min(len(rows), MOST_MAPPED)
    features = _as_features(rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])])
    if (features == features[0]).all():
        raise DataError("all images are equal, so there is nothing to cluster.")
    settings = {"perplexity": min(PERPLEXITY, (count - 1) / 3), "max_iter": 500}
    positions = TSNE(init="pca", random_state=seed, **settings).fit_transform(features)
    found = AgglomerativeClustering(num_clusters).fit_predict(positions)
    if count == len(rows):
        return found
    near = KNeighborsClassifier(NEIGHBORS).fit(features, found)
    # In blocks, since images in floats may not fit into memory.
    return np.concatenate([near.predict(_as_features(rows[i : i + BLOCK])) for i in range(0, len(rows), BLOCK)])


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
    """Makes a label for each image, as `config.training.warm_labels` says; the true ones have no part in it."""
    chosen, num_clusters = config.training.warm_labels, config.model.num_clusters
    if chosen == "tsne":
        labels = cluster_map(images, num_clusters)
    else:
        labels = read_warm_labels(chosen, len(images), num_clusters)
    return labels.astype(np.int32)
