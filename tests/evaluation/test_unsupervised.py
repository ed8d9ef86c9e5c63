"""Scores without labels, against their definitions and scikit-learn."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.metrics import silhouette_score

from mpcc_jax.evaluation.scores import (
    cluster_entropy,
    mean_confidence,
    prior_overlap,
    silhouette,
    unsupervised_scores,
)
from mpcc_jax.prior import GaussianMixture

RNG = np.random.default_rng(0)


def test_entropy_of_the_cluster_sizes():
    assert cluster_entropy([5, 5, 5, 5]) == pytest.approx(np.log(4))
    assert cluster_entropy([9, 0, 0]) == 0
    assert cluster_entropy([3, 1]) == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))


def test_mean_confidence_is_that_of_the_likeliest():
    assert mean_confidence(np.log([[0.7, 0.3], [0.1, 0.9]])) == pytest.approx(0.8)


def test_silhouette_is_scikit_learns_on_a_sample():
    latents, clusters = RNG.normal(size=(60, 3)), RNG.integers(0, 4, 60)
    assert silhouette(latents, clusters) == pytest.approx(silhouette_score(latents, clusters))
    apart = latents + 100.0 * clusters[:, None]
    assert silhouette(apart, clusters, sample=30) > 0.9


@pytest.mark.parametrize("clusters", [np.zeros(5, int), np.arange(5)])
def test_silhouette_is_none_where_it_is_not_defined(clusters):
    assert silhouette(RNG.normal(size=(5, 2)), clusters) is None


def test_overlap_is_the_integral_of_the_root_of_both_densities():
    mean, log_var = np.asarray([[0.0, 1.0], [2.0, 0.5], [9.0, 9.0]]), np.log([[1.0, 4.0], [2.0, 0.5], [1.0, 1.0]])
    grid = np.stack(np.meshgrid(np.linspace(-12, 14, 801), np.linspace(-12, 14, 801)), axis=-1)
    roots = [
        np.sqrt(multivariate_normal(own, np.diag(np.exp(spread))).pdf(grid))
        for own, spread in zip(mean[:2], log_var[:2], strict=True)
    ]
    assert prior_overlap(mean, log_var) == pytest.approx(np.sum(roots[0] * roots[1]) * (26 / 800) ** 2, rel=1e-4)
    assert prior_overlap(mean[[0, 0]], log_var[[0, 0]]) == pytest.approx(1.0)
    assert prior_overlap(mean[:1], log_var[:1]) is None


def test_all_scores_by_name():
    log_memberships = np.log([[0.7, 0.2, 0.1]] * 3 + [[0.1, 0.8, 0.1]] * 3)
    mixture = GaussianMixture(np.zeros(3), np.zeros((3, 2)), np.zeros((3, 2)))
    scores = unsupervised_scores(RNG.normal(size=(6, 2)), log_memberships, np.asarray([3, 3, 0]), mixture)
    assert scores["empty_clusters"] == 1
    assert scores["cluster_entropy"] == pytest.approx(np.log(2))
    assert set(scores) == {"cluster_entropy", "empty_clusters", "mean_confidence", "silhouette", "prior_overlap"}
