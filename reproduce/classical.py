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


def _kmeans(features, num_clusters, seed, **settings):
    from sklearn.cluster import KMeans

    return KMeans(num_clusters, random_state=seed, **settings).fit_predict(features)


def _gaussian_mixture(features, num_clusters, seed, **settings):
    from sklearn.mixture import GaussianMixture

    return GaussianMixture(num_clusters, random_state=seed, **settings).fit_predict(features)


def _spectral(features, num_clusters, seed, **settings):
    from sklearn.cluster import SpectralClustering

    return SpectralClustering(num_clusters, random_state=seed, **settings).fit_predict(features)


class Method(NamedTuple):
    """A way to cluster.

    Attributes:
      title: for people.
      cluster: function of features, [N, n], K, seed and settings that returns clusters.
      settings: what scikit-learn is given, by its names.
      reduced: whether it looks at principal components, not at pixels.
      sample: at most so many images, drawn by the seed; None is all.
    """

    title: str
    cluster: object
    settings: dict
    reduced: bool = False
    sample: int | None = None

    def fit(self, images, num_clusters, seed):
        """Clusters images, of which it sees no labels.

        Args:
          images: uint8, [N, H, W, C].
          num_clusters: K.
          seed: of the starts, and of the principal components.

        Returns:
          Clusters, integers in [0, K), [N].
        """
        features = reduce_images(images, seed).features if self.reduced else flatten_images(images)
        return self.cluster(features, num_clusters, seed, **self.settings)


_KMEANS = {"n_init": RESTARTS, "max_iter": MOST_ITERATIONS}
_MIXTURE = {"n_init": 1, "init_params": "kmeans", "max_iter": MOST_ITERATIONS}
_SPECTRAL = {"affinity": "nearest_neighbors", "n_neighbors": NEIGHBORS, "n_init": RESTARTS}
METHODS = {
    "kmeans_pixels": Method("k-means, pixels", _kmeans, _KMEANS),
    "kmeans_pca": Method("k-means, PCA", _kmeans, _KMEANS, reduced=True),
    "gaussian_mixture_full": Method(
        "Gaussian mixture, full covariance, PCA",
        _gaussian_mixture,
        {"covariance_type": "full", **_MIXTURE},
        reduced=True,
    ),
    "gaussian_mixture_diagonal": Method(
        "Gaussian mixture, diagonal covariance, PCA",
        _gaussian_mixture,
        {"covariance_type": "diag", **_MIXTURE},
        reduced=True,
    ),
    "spectral": Method("spectral clustering, pixels", _spectral, _SPECTRAL, sample=SPECTRAL_SAMPLE),
}
