"""What other methods make of the same images: k-means, mixtures, spectral and Ward clustering, maps before, and N2D.

python -m reproduce.baselines --datasets=digits,mnist [--resolution=16] [--seeds=5] [--data_dir=DIR] [--out=results]

Data, split, resolution and scores are those of our runs, K the number of classes. Labels score and do nothing else.
UMAP needs requirements-baselines.txt; without it those methods are left out, with a line.
Every fit is written to OUT/baselines/DATASET_RESOLUTION.json as soon as it is done; what is there is not fitted again.
OMP_NUM_THREADS says how many threads scikit-learn may use.
"""

import argparse
import datetime
import functools
import importlib.metadata
import importlib.util
import itertools
import os
import re
import sys
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from absl import logging
from flax import linen as nn
from jaxtyping import Array, Float, Int, UInt8
from sklearn.base import ClusterMixin
from sklearn.cluster import HDBSCAN, AgglomerativeClustering, KMeans, SpectralClustering
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import kneighbors_graph
from threadpoolctl import threadpool_info

from mpcc_jax.augmentation import Augmentation
from mpcc_jax.config import default_config, validate
from mpcc_jax.data import Dataset, load_dataset
from mpcc_jax.data.warm_labels import cluster_map
from mpcc_jax.errors import DataError, InputError, MPCCError
from mpcc_jax.evaluation.scores import clustering_scores
from mpcc_jax.workdir import prepare_workdir, write_json
from reproduce.markdown import group_baselines, render_clustering
from reproduce.runs import processor_name, read_json

RESOLUTIONS = {"digits": 8}  # as in configs/; all other experiments have the default's
MAX_COMPONENTS = 50
VARIANCE = 0.95
SHOWN = 300_000  # images, at least, to N2D's autoencoder
MOST_PAIRED = 10_000  # rows; all distances of more would take gigabytes


class Ward(ClusterMixin):
    """Ward linkage; of many images on the graph of ten nearest neighbours, as all pairs would not fit into memory."""

    def __init__(self, num_clusters: int, random_state: int):
        """The seed is not used: nothing is drawn."""
        self.num_clusters = num_clusters

    def fit_predict(self, features: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        """Clusters rows."""
        many = len(features) > MOST_PAIRED
        graph = functools.partial(kneighbors_graph, n_neighbors=10, include_self=False) if many else None
        return AgglomerativeClustering(self.num_clusters, connectivity=graph).fit_predict(features)


class Mapped(ClusterMixin):
    """The labels of the warm start of `extended`, from images."""

    def __init__(self, num_clusters: int, random_state: int, linkage: str):
        """The seed draws the images that are mapped, where there are more than 5000."""
        self.num_clusters, self.seed, self.linkage = num_clusters, random_state, linkage

    def fit_predict(self, images: UInt8[np.ndarray, "N H W C"]) -> Int[np.ndarray, " N"]:
        """Clusters images."""
        return cluster_map(images, self.num_clusters, Augmentation(probability=0.5), self.seed, self.linkage)


class Embedded(ClusterMixin):
    """UMAP, then a Gaussian mixture, or HDBSCAN, which finds a number of clusters of its own and leaves out noise."""

    def __init__(self, num_clusters: int, random_state: int, by: str, **settings: Any):
        """`settings` are UMAP's."""
        self.num_clusters, self.seed, self.by, self.settings = num_clusters, random_state, by, settings

    def fit_predict(self, features: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        """Clusters rows; noise is -1."""
        from umap import UMAP

        embedding = UMAP(random_state=self.seed, n_jobs=1, **self.settings).fit_transform(features)
        if self.by == "mixture":
            return GaussianMixture(self.num_clusters, n_init=5, random_state=self.seed).fit_predict(embedding)
        # 500 of 70 000, as in UMAP's documentation.
        return HDBSCAN(min_cluster_size=max(5, len(features) // 140), min_samples=10).fit_predict(embedding)


class Autoencoder(nn.Module):
    """N2D's network, whose latents have as many dimensions as there are clusters."""

    size: int
    latent_dim: int

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        """Returns latents and reconstructions."""
        for width in (500, 500, 2000):
            x = nn.relu(nn.Dense(width)(x))
        latent = x = nn.Dense(self.latent_dim)(x)
        for width in (2000, 500, 500):
            x = nn.relu(nn.Dense(width)(x))
        return latent, nn.Dense(self.size)(x)


def compress(features: Float[np.ndarray, "N D"], latent_dim: int, seed: int, epochs: int) -> Float[np.ndarray, "N J"]:
    """Trains an autoencoder in batches of 256, and encodes the rows that it was trained on."""
    network, optimizer, count = Autoencoder(features.shape[1], latent_dim), optax.adam(1e-3), len(features)
    rng, size = np.random.default_rng(seed), min(256, count)
    steps = count // size
    params = network.init(jax.random.key(seed), features[:1])

    def step(carry, batch):
        params, state = carry
        gradient = jax.grad(lambda params: jnp.mean((network.apply(params, batch)[1] - batch) ** 2))(params)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), None

    epoch = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches)[0])
    carry = (params, optimizer.init(params))
    for _ in range(epochs):
        carry = epoch(carry, features[rng.permutation(count)[: size * steps]].reshape(steps, size, -1))
    return np.asarray(network.apply(carry[0], features)[0])


class N2D(Embedded):
    """An autoencoder, UMAP of its latents, and a Gaussian mixture (McConville et al., ICPR 2021).

    They train for 1000 epochs; here it is 30, of few images as many as show 300 000: about as long as our runs.
    """

    def fit_predict(self, features: Float[np.ndarray, "N D"]) -> Int[np.ndarray, " N"]:
        """Clusters rows."""
        epochs = max(30, SHOWN // len(features))
        self.settings["n_components"] = self.num_clusters
        return super().fit_predict(compress(features, self.num_clusters, self.seed, epochs))


class Method(NamedTuple):
    """A way to cluster.

    Attributes:
      settings: of the estimator, by scikit-learn's names.
      sees: "pixels", "components", which are principal, or "images".
      sample: at most so many images, drawn by the seed; None is all.
    """

    title: str
    estimator: type[ClusterMixin | GaussianMixture]
    settings: dict
    sees: str = "pixels"
    sample: int | None = None


_KMEANS = {"n_init": 10, "max_iter": 1000}
_MIXTURE = {"covariance_type": "full", "n_init": 1, "init_params": "kmeans", "max_iter": 1000}
_SPECTRAL = {"affinity": "nearest_neighbors", "n_neighbors": 10, "n_init": 10}
_UMAP = {"n_neighbors": 30, "min_dist": 0.0, "n_components": 2}  # as UMAP's documentation advises for clustering
METHODS = {
    "kmeans_pixels": Method("k-means, pixels", KMeans, _KMEANS),
    "kmeans_pca": Method("k-means, PCA", KMeans, _KMEANS, "components"),
    "gaussian_mixture_full": Method("Gaussian mixture, full covariance, PCA", GaussianMixture, _MIXTURE, "components"),
    "ward": Method("Ward linkage, pixels", Ward, {}),
    "neighbor_map": Method("tangent distances, t-SNE, Ward linkage", Mapped, {"linkage": "ward"}, "images"),
    "neighbor_map_average": Method(
        "tangent distances, t-SNE, average linkage", Mapped, {"linkage": "average"}, "images"
    ),
    "umap_hdbscan": Method("UMAP + HDBSCAN, pixels", Embedded, {"by": "hdbscan", **_UMAP}),
    "umap_mixture": Method("UMAP + Gaussian mixture, pixels", Embedded, {"by": "mixture", **_UMAP}),
    "n2d": Method("N2D, pixels", N2D, {"by": "mixture", "n_neighbors": 20, "min_dist": 0.0}),
    "spectral": Method("spectral clustering, pixels", SpectralClustering, _SPECTRAL, sample=5000),
}


def flatten_images(images: UInt8[np.ndarray, "N H W C"]) -> Float[np.ndarray, "N D"]:
    """Makes features in [0, 1] of pixels."""
    return images.reshape(len(images), -1) / np.float32(255.0)


def reduce_images(images: UInt8[np.ndarray, "N H W C"], seed: int) -> tuple[Float[np.ndarray, "N D"], dict]:
    """Finds principal components, 50 or as many as hold 95 % of the variance, and says how many and why."""
    pixels = flatten_images(images)
    pca = PCA(min(MAX_COMPONENTS, *pixels.shape), random_state=seed)
    features = pca.fit_transform(pixels)
    shares = np.cumsum(pca.explained_variance_ratio_)
    enough = shares[-1] >= VARIANCE
    count = int(np.searchsorted(shares, VARIANCE)) + 1 if enough else len(shares)
    limit = f"{VARIANCE:.0%} of the variance" if enough else f"{count} components"
    facts = {"components": count, "variance": float(shares[count - 1]), "limit": limit}
    return features[:, :count].astype(np.float64), facts


def cluster(
    name: str, images: UInt8[np.ndarray, "N H W C"], num_clusters: int, seed: int
) -> tuple[Int[np.ndarray, " N"], dict]:
    """Clusters images by a method; returns the clusters and its settings."""
    method = METHODS[name]
    settings = {**method.settings, "num_clusters": num_clusters}
    features = images if method.sees == "images" else flatten_images(images)
    if method.sees == "components":
        features, settings["pca"] = reduce_images(images, seed)
    return method.estimator(num_clusters, random_state=seed, **method.settings).fit_predict(features), settings


def measure(
    name: str, images: UInt8[np.ndarray, "N H W C"], labels: Int[np.ndarray, " N"], num_clusters: int, seed: int
) -> dict:
    """Fits a method to images, of which it sees no labels, scores its clusters against labels, and returns a record."""
    method, more = METHODS[name], {}
    if method.sample is not None:
        more["sample"] = method.sample
        if len(images) > method.sample:
            chosen = np.sort(np.random.default_rng(seed).choice(len(images), method.sample, replace=False))
            images, labels = images[chosen], labels[chosen]
    started, processor_started = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clusters, settings = cluster(name, images, num_clusters, seed)
    return {
        "method": name,
        "title": method.title,
        "settings": settings | more,
        "seed": seed,
        "count": len(images),
        "scores": clustering_scores(labels, clusters),
        "clusters": len(np.unique(clusters)),
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - processor_started,
        "warnings": sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught}),
    }


def baselines_path(out: Path, name: str, resolution: int) -> Path:
    """Returns where the records of a data set are."""
    name = re.sub(r"[^\w.+-]+", "_", f"{name}_{resolution}")
    return out / "baselines" / f"{name}.json"


def available_methods() -> list[str]:
    """Lists the methods whose packages are installed, and prints what is left out."""
    if importlib.util.find_spec("umap") is not None:
        return list(METHODS)
    without = [name for name, method in METHODS.items() if not issubclass(method.estimator, Embedded)]
    if len(without) < len(METHODS):
        print("without UMAP, which is not installed: python -m pip install -r requirements-baselines.txt")
    return without


def fit_missing(dataset: Dataset, path: Path, seeds: Iterable[int]) -> list[dict]:
    """Fits all methods that have no record, writes each record at once, and returns all of this data."""
    if dataset.labels is None:
        raise DataError(f"{dataset.name!r} has no labels, so there is nothing to score clusters against.")
    facts, records = dataset.facts(), read_json(path) or []
    data = {name: facts[name] for name in ("name", "version", "split", "count", "shape", "range")}
    packages = ["scikit-learn", "numpy", "scipy", *(["umap-learn"] if importlib.util.find_spec("umap") else [])]
    threads = max(pool["num_threads"] for pool in threadpool_info())
    provenance = {
        "data": data,
        "hardware": {"processor": processor_name(), "cores": os.cpu_count(), "threads": threads},
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "date": datetime.date.today().isoformat(),
    }
    finished = {(record["method"], record["seed"]) for record in records if record["data"] == data}
    methods = available_methods()
    for name, seed in itertools.product(methods, seeds):
        if (name, seed) in finished:
            continue
        record = measure(name, np.asarray(dataset.images), dataset.labels, len(np.unique(dataset.labels)), seed)
        records = [old for old in records if (old["method"], old["seed"]) != (name, seed)] + [record | provenance]
        write_json(path, records)
        accuracy, seconds = record["scores"]["accuracy_many_to_one"], record["processor_seconds"]
        print(f"{dataset.name}, {record['title']}, seed {seed}: {accuracy:.4f}, {seconds:.1f} processor s")
    return [record for record in records if record["data"] == data]


def load_images(name: str, resolution: int | None, data_dir: str) -> Dataset:
    """Loads the images of an experiment, at its resolution unless another is given."""
    config = default_config()
    config.data.update({"name": name, "dir": data_dir})
    config.data.resolution = resolution or RESOLUTIONS.get(name, config.data.resolution)
    validate(config)
    return load_dataset(config)


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="digits", help="names of data sets, with commas between")
    parser.add_argument("--resolution", type=int, help="pixels of the side; that of the experiment otherwise")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, ...")
    parser.add_argument("--data_dir", default="", help="where TFDS data is")
    parser.add_argument("--out", type=Path, default="results")
    given = parser.parse_args(arguments)
    logging.set_verbosity(logging.ERROR)  # TFDS recommends OpenCV, though Pillow decodes the same pixels
    try:
        if given.seeds < 1:
            raise InputError(f"--seeds is {given.seeds}; allowed: 1 or more.")
        datasets = [load_images(name, given.resolution, given.data_dir) for name in given.datasets.split(",")]
        for dataset in datasets:
            size = dataset.images.shape[1]
            path = baselines_path(given.out.expanduser(), dataset.name, size)
            prepare_workdir(path.parent)
            records = fit_missing(dataset, path, range(given.seeds))
            label = f"{dataset.name}, {size}x{size}"
            print("", *render_clustering(group_baselines(label, records)), "", sep="\n")
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
