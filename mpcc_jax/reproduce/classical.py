"""Classical clustering of images by scikit-learn: k-means, Gaussian mixtures, spectral clustering."""

from typing import NamedTuple

import numpy as np

MOST_COMPONENTS = 50
VARIANCE = 0.95
RESTARTS = 10
MOST_ITERATIONS = 1000
NEIGHBORS = 10
SPECTRAL_SAMPLE = 5000


class Reduction(NamedTuple):
    """Principal components of images.

    Attributes:
      features: [N, n], float64.
      variance: share of the images' variance that they hold.
      rule: which of the two limits came first.
    """

    features: np.ndarray
    variance: float
    rule: str


def flatten_images(images):
    """Pixels as features.

    Args:
      images: uint8, [N, H, W, C].

    Returns:
      In [0, 1], float32, [N, H * W * C].
    """
    return np.asarray(images, np.float32).reshape(len(images), -1) / np.float32(255.0)


def reduce_images(images, seed):
    """Principal components: 50 of them, or as many as hold 95 % of the variance if those are fewer.

    Args:
      images: uint8, [N, H, W, C].
      seed: of the randomised solver, which scikit-learn takes for large images.

    Returns:
      A `Reduction`.
    """
    from sklearn.decomposition import PCA

    pixels = flatten_images(images)
    pca = PCA(min(MOST_COMPONENTS, *pixels.shape), random_state=seed)
    features = pca.fit_transform(pixels)
    held = np.cumsum(pca.explained_variance_ratio_)
    enough = held[-1] >= VARIANCE
    count = int(np.searchsorted(held, VARIANCE)) + 1 if enough else len(held)
    rule = f"{VARIANCE:.0%} of the variance" if enough else f"{len(held)} components"
    return Reduction(features[:, :count].astype(np.float64), float(held[count - 1]), rule)


def _kmeans(features, num_clusters, seed):
    from sklearn.cluster import KMeans

    return KMeans(num_clusters, n_init=RESTARTS, max_iter=MOST_ITERATIONS, random_state=seed).fit_predict(features)


def _gaussian_mixture(images, num_clusters, seed, covariance):
    from sklearn.mixture import GaussianMixture

    features = reduce_images(images, seed).features
    mixture = GaussianMixture(num_clusters, covariance_type=covariance, max_iter=MOST_ITERATIONS, random_state=seed)
    return mixture.fit_predict(features)


def fit_kmeans_pixels(images, num_clusters, seed):
    """k-means on the pixels, the best of ten starts.

    Args:
      images: uint8, [N, H, W, C].
      num_clusters: K.
      seed: of the starts.

    Returns:
      Clusters, integers in [0, K), [N].
    """
    return _kmeans(flatten_images(images), num_clusters, seed)


def fit_kmeans_pca(images, num_clusters, seed):
    """k-means on the principal components, the best of ten starts.

    Args:
      images: uint8, [N, H, W, C].
      num_clusters: K.
      seed: of the starts.

    Returns:
      Clusters, integers in [0, K), [N].
    """
    return _kmeans(reduce_images(images, seed).features, num_clusters, seed)


def fit_gaussian_mixture_full(images, num_clusters, seed):
    """A Gaussian mixture with full covariances on the principal components, started from k-means.

    Args:
      images: uint8, [N, H, W, C].
      num_clusters: K.
      seed: of the start.

    Returns:
      Clusters, integers in [0, K), [N].
    """
    return _gaussian_mixture(images, num_clusters, seed, "full")


def fit_gaussian_mixture_diagonal(images, num_clusters, seed):
    """A Gaussian mixture with diagonal covariances on the principal components, started from k-means.

    Args:
      images: uint8, [N, H, W, C].
      num_clusters: K.
      seed: of the start.

    Returns:
      Clusters, integers in [0, K), [N].
    """
    return _gaussian_mixture(images, num_clusters, seed, "diag")


def fit_spectral(images, num_clusters, seed):
    """Spectral clustering of the pixels over the graph of the nearest neighbours.

    Args:
      images: uint8, [N, H, W, C]; all pairs of a few thousand are affordable.
      num_clusters: K.
      seed: of the eigensolver and of the k-means on its vectors.

    Returns:
      Clusters, integers in [0, K), [N].
    """
    from sklearn.cluster import SpectralClustering

    spectral = SpectralClustering(
        num_clusters, affinity="nearest_neighbors", n_neighbors=NEIGHBORS, n_init=RESTARTS, random_state=seed
    )
    return spectral.fit_predict(flatten_images(images))


class Method(NamedTuple):
    """A way to cluster.

    Attributes:
      title: for people.
      fit: function of images, K and seed that returns clusters.
      settings: what scikit-learn is given, by its names.
      reduced: whether it looks at principal components.
      sample: at most so many images, drawn by the seed; None is all.
    """

    title: str
    fit: object
    settings: dict
    reduced: bool = False
    sample: int | None = None


_KMEANS = {"n_init": RESTARTS, "max_iter": MOST_ITERATIONS}
_MIXTURE = {"n_init": 1, "init_params": "kmeans", "max_iter": MOST_ITERATIONS}
METHODS = {
    "kmeans_pixels": Method("k-means, pixels", fit_kmeans_pixels, _KMEANS),
    "kmeans_pca": Method("k-means, PCA", fit_kmeans_pca, _KMEANS, reduced=True),
    "gaussian_mixture_full": Method(
        "Gaussian mixture, full covariance, PCA", fit_gaussian_mixture_full, _MIXTURE, reduced=True
    ),
    "gaussian_mixture_diagonal": Method(
        "Gaussian mixture, diagonal covariance, PCA", fit_gaussian_mixture_diagonal, _MIXTURE, reduced=True
    ),
    "spectral": Method(
        "spectral clustering, pixels",
        fit_spectral,
        {"affinity": "nearest_neighbors", "n_neighbors": NEIGHBORS, "n_init": RESTARTS, "sample": SPECTRAL_SAMPLE},
        sample=SPECTRAL_SAMPLE,
    ),
}
