"""Distances and scores against SciPy, closed forms and plain loops in float64."""

import warnings

import numpy as np
import pytest
import scipy.linalg

from mpcc_jax.errors import DataError
from mpcc_jax.evaluation.fid import (
    FewSamplesWarning,
    check_features,
    check_moments,
    feature_moments,
    frechet_distance,
    inception_score,
    kernel_distance,
)

RNG = np.random.default_rng(0)
MIXING = RNG.normal(size=(24, 24))
# Like features after a ReLU: positive and correlated.
FEATURES1 = np.maximum(RNG.normal(size=(300, 24)) @ MIXING, 0).astype(np.float32)
FEATURES2 = np.maximum(1.2 * RNG.normal(size=(200, 24)) @ MIXING + 0.3, 0).astype(np.float32)


def moments(features):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        return feature_moments(features)


def test_moments_are_those_of_a_plain_loop():
    mean, cov = moments(FEATURES1)
    wide = FEATURES1.astype(np.float64)
    expected = sum(wide) / 300
    np.testing.assert_allclose(mean, expected)
    np.testing.assert_allclose(cov, sum(np.outer(row - expected, row - expected) for row in wide) / 299, atol=1e-12)
    assert mean.dtype == cov.dtype == np.float64


def test_few_samples_are_warned_of():
    with pytest.warns(FewSamplesWarning, match="generated images of 9999 images is too high"):
        feature_moments(np.zeros((9999, 2)), "generated images")
    feature_moments(np.zeros((10_000, 2)))  # a warning would be an error here


def test_frechet_distance_is_that_of_scipys_matrix_root():
    mean1, cov1 = moments(FEATURES1)
    mean2, cov2 = moments(FEATURES2)
    root = scipy.linalg.sqrtm(cov1 @ cov2).real
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1 + cov2 - 2 * root)
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(mean2, cov2, mean1, cov1) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_of_diagonal_gaussians_is_the_closed_form():
    mean, variances = RNG.normal(size=(2, 6)), RNG.uniform(0, 3, (2, 6))
    variances[0, 0] = 0.0
    expected = np.square(mean[0] - mean[1]).sum() + np.square(np.sqrt(variances[0]) - np.sqrt(variances[1])).sum()
    actual = frechet_distance(mean[0], np.diag(variances[0]), mean[1], np.diag(variances[1]))
    assert actual == pytest.approx(expected, rel=1e-9)


def test_rank_deficient_against_full_rank():
    """tr (S1^(1/2) S2 S1^(1/2))^(1/2) is the sum of the singular values of S2^(1/2) S1^(1/2): another way to it."""
    mean1, cov1 = moments(FEATURES1[:10])
    mean2, cov2 = moments(FEATURES2)
    halves = []
    for cov in (cov1, cov2):
        left, values, _ = np.linalg.svd(cov)
        halves.append(left * np.sqrt(values) @ left.T)
    nuclear = np.linalg.svd(halves[1] @ halves[0], compute_uv=False).sum()
    expected = ((mean1 - mean2) ** 2).sum() + np.trace(cov1) + np.trace(cov2) - 2 * nuclear
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_a_matrix_with_a_large_negative_eigenvalue_is_no_covariance(which):
    covs = [np.eye(3), np.eye(3)]
    covs[which] = np.diag([1.0, 1.0, -0.1])
    with pytest.raises(DataError, match=r"eigenvalue -0\.1"):
        frechet_distance(np.zeros(3), covs[0], np.zeros(3), covs[1])


def test_statistics_that_do_not_fit():
    with pytest.raises(DataError, match="statistics of 3 and of 4 features"):
        frechet_distance(np.zeros(3), np.eye(3), np.zeros(4), np.eye(4))
    with pytest.raises(DataError, match=r"mean2 and cov2 are \(3,\) and \(4, 4\)"):
        check_moments(np.zeros(3), np.eye(4), "2")
    with pytest.raises(DataError, match="mean or cov has values that are NaN"):
        check_moments(np.full(3, np.nan), np.eye(3))


def mmd_by_loops(features1, features2):
    """Gretton et al. (2012), Eq. 3, with equally many samples."""
    count, width = features1.shape
    total = 0.0
    for i in range(count):
        for j in range(count):
            within = [
                (sum(a * b for a, b in zip(x[i], x[j], strict=True)) / width + 1) ** 3 for x in (features1, features2)
            ]
            across = (sum(a * b for a, b in zip(features1[i], features2[j], strict=True)) / width + 1) ** 3
            total += (i != j) * sum(within) / (count * (count - 1)) - 2 * across / count**2
    return total


def test_kernel_distance_is_that_of_loops_over_subsets():
    """Mean and spread over the subsets that the same generator draws."""
    measured = kernel_distance(FEATURES1, FEATURES2, np.random.default_rng(3), num_subsets=4, subset_size=10)
    rng, expected = np.random.default_rng(3), []
    for _ in range(4):
        rows1, rows2 = (rng.choice(count, 10, replace=False) for count in (300, 200))
        expected.append(mmd_by_loops(FEATURES1[rows1].astype(float), FEATURES2[rows2].astype(float)))
    assert measured == (pytest.approx(np.mean(expected), rel=1e-9), pytest.approx(np.std(expected), rel=1e-9), 4, 10)


def score_by_loops(logits, num_splits):
    scores, count = [], len(logits)
    for split in range(num_splits):
        part = logits[split * count // num_splits : (split + 1) * count // num_splits]
        given = [np.exp(row) / sum(np.exp(row)) for row in part]
        marginal = sum(given) / len(given)
        divergences = [sum(p * np.log(p / q) for p, q in zip(row, marginal, strict=True)) for row in given]
        scores.append(np.exp(sum(divergences) / len(divergences)))
    return np.mean(scores), np.std(scores)


@pytest.mark.parametrize(("count", "num_splits"), [(40, 10), (43, 4), (20, 1)])
def test_inception_score_is_that_of_loops(count, num_splits):
    logits = 3 * np.random.default_rng(2).normal(size=(count, 6))
    assert inception_score(logits, num_splits) == (*map(pytest.approx, score_by_loops(logits, num_splits)), num_splits)


@pytest.mark.parametrize("compute", [feature_moments, lambda features: inception_score(features, 1)])
def test_features_that_are_few_or_broken_are_refused(compute):
    with pytest.raises(DataError, match="of 1 images; needed: 2 or more"):
        compute(FEATURES1[:1])
    broken = FEATURES1.copy()
    broken[3:5, 7] = np.nan
    with pytest.raises(DataError, match="NaN or infinite for 2 of 300 images"):
        compute(broken)


def test_features_of_other_shapes_are_refused():
    with pytest.raises(DataError, match=r"allowed: \[N, D\]"):
        check_features(FEATURES1[0], "features")
    for features, message in ((FEATURES2[:, :5], "24 features of one set, 5 of the other"), (FEATURES2[:1], "of 1")):
        with pytest.raises(DataError, match=message):
            kernel_distance(FEATURES1, features, np.random.default_rng(0))
    with pytest.raises(DataError, match="logits in 10 splits are of 19 images; needed: 20"):
        inception_score(np.zeros((19, 5)))
