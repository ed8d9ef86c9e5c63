"""Latents and components of the prior on a plane: PCA, t-SNE, and the ellipses of Gaussians."""

from typing import NamedTuple

import numpy as np

LARGEST_EMBEDDING = 1500
DRAWS_IN_ALL = 400
FEWEST_DRAWS = 8


class Plane(NamedTuple):
    """The plane of the first two principal components.

    Attributes:
      center: mean of the latents, [J].
      axes: orthonormal rows, [2, J].
      explained: shares of the variance, [2].
    """

    center: np.ndarray
    axes: np.ndarray
    explained: np.ndarray


class Gaussians(NamedTuple):
    """K Gaussians on a plane.

    Attributes:
      means: [K, 2].
      covariances: [K, 2, 2].
    """

    means: np.ndarray
    covariances: np.ndarray


class Embedding(NamedTuple):
    """Latents on a plane, with the prior among them.

    Attributes:
      points: [n, 2].
      chosen: which of the latents they are, sorted indices, [n].
      prior: `Gaussians`, or None.
    """

    points: np.ndarray
    chosen: np.ndarray
    prior: Gaussians | None


def can_be_mapped(latents):
    """Whether latents have a plane to be shown on.

    Args:
      latents: [N, J].

    Returns:
      True for at least two dimensions and five finite points that are not all the same.
    """
    count, dimensions = np.shape(latents)
    return bool(count > 4 and dimensions > 1 and np.isfinite(latents).all() and np.ptp(latents, axis=0).max() > 0)


def principal_plane(latents):
    """Fits the plane that keeps most of the variance.

    Args:
      latents: [N, J], J >= 2.

    Returns:
      A `Plane`.
    """
    from sklearn.decomposition import PCA

    pca = PCA(n_components=2, svd_solver="full").fit(np.asarray(latents, np.float64))
    return Plane(pca.mean_, pca.components_, pca.explained_variance_ratio_)


def project_points(points, plane):
    """Coordinates of points on a plane.

    Args:
      points: [N, J].
      plane: a `Plane`.

    Returns:
      [N, 2].
    """
    return (np.asarray(points, np.float64) - plane.center) @ plane.axes.T


def project_gaussians(mean, std, plane):
    """Exact marginals of Gaussians with diagonal covariance: A diag(sigma^2) A^T for the plane's axes A.

    Args:
      mean: [K, J].
      std: sigma, [K, J].
      plane: a `Plane`.

    Returns:
      `Gaussians`.
    """
    variances = np.asarray(std, np.float64) ** 2
    return Gaussians(project_points(mean, plane), np.einsum("aj,kj,bj->kab", plane.axes, variances, plane.axes))


def fit_gaussians(points):
    """Means and covariances of groups of points.

    Args:
      points: [K, n, 2], n >= 2.

    Returns:
      `Gaussians`; covariances with n - 1 below the line.
    """
    means = points.mean(axis=1)
    centered = points - means[:, None]
    return Gaussians(means, np.einsum("kna,knb->kab", centered, centered) / (points.shape[1] - 1))


def ellipse_axes(covariances):
    """Half axes and direction of the ellipses one standard deviation from the means.

    Args:
      covariances: [K, 2, 2].

    Returns:
      Half axes, the long one first, [K, 2]; and the angle of the long one to the first axis, degrees in
      [-90, 90], [K].
    """
    variances, directions = np.linalg.eigh(covariances)
    long = directions[:, :, 1]
    long = np.where(long[:, :1] < 0, -long, long)
    half_axes = np.sqrt(np.clip(variances[:, ::-1], 0, None))
    return half_axes, np.degrees(np.arctan2(long[:, 1], long[:, 0]))


def embed(latents, prior_mean=None, prior_std=None, limit=LARGEST_EMBEDDING):
    """t-SNE of latents together with draws from every component, whose 2-D covariances stand for the components.

    Args:
      latents: [N, J], J >= 2.
      prior_mean: mu, [K, J], or None for latents alone.
      prior_std: sigma, [K, J], or None.
      limit: at most so many latents; of more, a fixed random choice, as the time grows faster than their number.

    Returns:
      An `Embedding`.
    """
    from sklearn.manifold import TSNE

    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(latents))[:limit])
    points = np.asarray(latents, np.float64)[chosen]
    if prior_mean is not None:
        components, dimensions = np.shape(prior_mean)
        draws = max(FEWEST_DRAWS, DRAWS_IN_ALL // components)
        noise = rng.normal(size=(components, draws, dimensions))
        drawn = prior_mean[:, None, :] + prior_std[:, None, :] * noise
        points = np.concatenate([points, drawn.reshape(-1, dimensions)])
    perplexity = min(30.0, (len(points) - 1) / 3)
    embedded = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(points).astype(np.float64)
    prior = None if prior_mean is None else fit_gaussians(embedded[len(chosen) :].reshape(components, draws, 2))
    return Embedding(embedded[: len(chosen)], chosen, prior)
