"""From Inception's features to figures: Fréchet and kernel distances (FID, KID) and the Inception Score, in float64."""

import itertools
import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_softmax, logsumexp

from mpcc_jax.errors import DataError

ENOUGH_SAMPLES = 10_000
# An eigenvalue below minus this, relative to the scale of the matrices, is no rounding error.
NEGATIVE_TOLERANCE = 1e-6


class FewSamplesWarning(UserWarning):
    """A distance from so few samples that its bias is large."""


class Score(NamedTuple):
    """Mean and standard deviation (n below the line) over splits of the images."""

    mean: float
    sd: float
    num_splits: int


class KernelDistance(NamedTuple):
    """KID over subsets of either side: mean (unbiased, so negative at times) and standard deviation (n below)."""

    mean: float
    sd: float
    num_subsets: int
    subset_size: int


def check_features(features: np.ndarray, name: str, at_least: int = 2) -> None:
    """Raises DataError unless features (or logits) are [N, D] of enough images, with no NaN or infinity."""
    if np.ndim(features) != 2:
        raise DataError(f"{name} have shape {np.shape(features)}; allowed: [N, D], a row per image.")
    if len(features) < at_least:
        raise DataError(f"{name} are of {len(features)} images; needed: {at_least} or more.")
    broken = int((~np.isfinite(features)).any(axis=1).sum())
    if broken:
        raise DataError(f"{name} are NaN or infinite for {broken} of {len(features)} images; allowed: numbers.")


def check_moments(mean: np.ndarray, cov: np.ndarray, suffix: str = "") -> None:
    """Raises DataError unless mean and covariance are [D] and [D, D], with no NaN or infinity."""
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise DataError(f"mean{suffix} and cov{suffix} are {mean.shape} and {cov.shape}; allowed: [D] and [D, D].")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise DataError(f"mean{suffix} or cov{suffix} has values that are NaN or infinite.")


def feature_moments(
    features: Float[np.ndarray, "N D"], name: str = "features"
) -> tuple[Float[np.ndarray, " D"], Float[np.ndarray, "D D"]]:
    """Mean and covariance (N - 1 below the line), which FID compares, in float64.

    Raises DataError for fewer than 2 samples or NaN, and warns with FewSamplesWarning below 10 000 samples.
    """
    check_features(features, name)
    if len(features) < ENOUGH_SAMPLES:
        warnings.warn(
            f"FID from {name} of {len(features)} images is too high by an amount that depends on their number; compare "
            f"it with figures from as many images only ({ENOUGH_SAMPLES} or more are usual). KID has no such bias.",
            FewSamplesWarning,
            stacklevel=2,
        )
    features = np.asarray(features, np.float64)
    return features.mean(axis=0), np.cov(features, rowvar=False).reshape(features.shape[1], -1)


def _clip_eigenvalues(eigenvalues: np.ndarray, scale: float, name: str) -> np.ndarray:
    """Sets negative eigenvalues to zero where they are rounding errors."""
    if eigenvalues.min() < -NEGATIVE_TOLERANCE * scale:
        raise DataError(
            f"{name} has the eigenvalue {eigenvalues.min():g} (its scale is {scale:g}); a covariance has none below 0. "
            "The statistics are damaged or are not a covariance."
        )
    return np.maximum(eigenvalues, 0.0)


def frechet_distance(
    mean1: Float[np.ndarray, " D1"],
    cov1: Float[np.ndarray, "D1 D1"],
    mean2: Float[np.ndarray, " D2"],
    cov2: Float[np.ndarray, "D2 D2"],
) -> float:
    """Squared Fréchet distance between two Gaussians (FID where they are of Inception's features; Heusel et al., 2017).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1^(1/2) S2 S1^(1/2))^(1/2)). The matrix under the last root is symmetric, so its root
    needs eigenvalues alone, and singular covariances (fewer samples than features) are no special case. Raises
    DataError if shapes do not match, values are not finite, or a matrix is clearly no covariance.
    """
    mean1, cov1, mean2, cov2 = (np.asarray(value, np.float64) for value in (mean1, cov1, mean2, cov2))
    check_moments(mean1, cov1, "1")
    check_moments(mean2, cov2, "2")
    if len(mean1) != len(mean2):
        raise DataError(f"statistics of {len(mean1)} and of {len(mean2)} features; they must be of the same network.")
    values, vectors = np.linalg.eigh(cov1)
    scale = np.abs(values).max()
    half = (vectors * np.sqrt(_clip_eigenvalues(values, scale, "cov1"))[None]) @ vectors.T
    product = half @ cov2 @ half
    scale *= np.linalg.norm(cov2)
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    roots = np.sqrt(_clip_eigenvalues(eigenvalues, scale, "cov2, seen through cov1,"))
    distance = np.square(mean1 - mean2).sum() + np.trace(cov1) + np.trace(cov2) - 2.0 * roots.sum()
    # Only rounding makes it negative.
    return max(float(distance), 0.0)


def _squared_mmd(features1: np.ndarray, features2: np.ndarray) -> float:
    """Unbiased estimate of MMD^2 under the cubic kernel of KID; both [n, D]."""
    count, width = features1.shape

    def kernel(a, b):
        return (a @ b.T / width + 1.0) ** 3

    within = [kernel(features, features) for features in (features1, features2)]
    pairs = sum(matrix.sum() - np.trace(matrix) for matrix in within) / (count * (count - 1))
    return pairs - 2.0 * kernel(features1, features2).mean()


def kernel_distance(
    features1: Float[np.ndarray, "N D1"],
    features2: Float[np.ndarray, "M D2"],
    rng: np.random.Generator,
    num_subsets: int = 100,
    subset_size: int = 1000,
) -> KernelDistance:
    """Kernel Inception distance: unbiased MMD^2 under the kernel (x.y / D + 1)^3 (Binkowski et al., 2018).

    `rng` draws the subsets without repetition inside each; their size is the smaller of N and M where that is less.
    Raises DataError for fewer than 2 samples, NaN, or two numbers of features.
    """
    check_features(features1, "features1")
    check_features(features2, "features2")
    if features1.shape[1] != features2.shape[1]:
        raise DataError(
            f"{features1.shape[1]} features of one set, {features2.shape[1]} of the other; they must be of one network."
        )
    size = min(subset_size, len(features1), len(features2))

    def draw(features):
        return features[rng.choice(len(features), size, replace=False)].astype(np.float64)

    distances = [_squared_mmd(draw(features1), draw(features2)) for _ in range(num_subsets)]
    return KernelDistance(float(np.mean(distances)), float(np.std(distances)), num_subsets, size)


def inception_score(logits: Float[np.ndarray, "N classes"], num_splits: int = 10) -> Score:
    """Inception Score: exp of the mean KL from p(y given x) to p(y) (Salimans et al., 2016).

    The splits are taken in the order of the images, each with a p(y) of its own. Raises DataError for fewer than 2
    samples a split, or NaN.
    """
    check_features(logits, f"logits in {num_splits} splits", at_least=2 * num_splits)
    bounds = np.arange(num_splits + 1) * len(logits) // num_splits
    scores = []
    for start, stop in itertools.pairwise(bounds):
        log_given = log_softmax(np.asarray(logits[start:stop], np.float64), axis=1)
        log_marginal = logsumexp(log_given, axis=0, keepdims=True) - np.log(stop - start)
        scores.append(np.exp((np.exp(log_given) * (log_given - log_marginal)).sum(axis=1).mean()))
    return Score(float(np.mean(scores)), float(np.std(scores)), num_splits)
