"""Scores against definitions, brute force and scikit-learn; which images a run is scored on."""

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn import metrics

from mpcc_jax.evaluation.scores import (
    choose_sample,
    clustering_scores,
    confusion_matrix,
    majorities,
    many_to_one_accuracy,
    one_to_one_accuracy,
    over_seeds,
    prior_overlap,
    silhouette,
    unsupervised_scores,
)
from mpcc_jax.prior import GaussianMixture

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("count", "seen", "num_images", "size"),
    [
        (1797, 10, 0, 1797),
        (70000, 400, 0, 2000),
        (70000, 30000, 0, 30000),
        (70000, 10**7, 0, 70000),
        (70000, 400, 70000, 70000),
        (300, np.inf, 200, 200),
    ],
)
def test_sample(count, seen, num_images, size):
    chosen = np.arange(count)[choose_sample(count, seen, num_images)]
    assert len(chosen) == size
    assert np.all(np.diff(chosen) > 0)


def test_accuracies_are_the_best_over_all_mappings():
    """Eq. 11 by brute force: all maps of clusters to classes, and all one-to-one maps."""
    labels, clusters = RNG.integers(0, 4, (2, 60))
    maps = np.asarray(list(itertools.product(range(4), repeat=4)))
    hits = (maps[:, clusters] == labels).mean(-1)
    one_to_one = [len(set(mapping)) == 4 for mapping in maps]
    np.testing.assert_allclose(many_to_one_accuracy(labels, clusters), hits.max())
    np.testing.assert_allclose(one_to_one_accuracy(labels, clusters), hits[one_to_one].max())


def test_clustering_scores_by_name():
    labels, clusters = RNG.integers(0, 3, (2, 50))
    assert clustering_scores(labels, clusters) == {
        "accuracy_many_to_one": many_to_one_accuracy(labels, clusters),
        "accuracy_one_to_one": one_to_one_accuracy(labels, clusters),
        "nmi": pytest.approx(metrics.normalized_mutual_info_score(labels, clusters)),
        "ami": pytest.approx(metrics.adjusted_mutual_info_score(labels, clusters)),
        "ari": pytest.approx(metrics.adjusted_rand_score(labels, clusters)),
    }
    relabelled = np.asarray([3, 0, 4, 1, 2])[labels]
    np.testing.assert_allclose(list(clustering_scores(labels, relabelled).values()), 1.0)


@pytest.mark.parametrize(("num_classes", "num_clusters"), [(3, 5), (5, 3)])
def test_confusion_counts_empty_rows_and_columns(num_classes, num_clusters):
    labels, clusters = np.asarray([0, 0, 1, 2, 2, 2]), np.asarray([0, 2, 2, 2, 2, 0])
    expected = np.zeros((num_classes, num_clusters), int)
    np.add.at(expected, (labels, clusters), 1)
    np.testing.assert_array_equal(confusion_matrix(labels, clusters, num_classes, num_clusters), expected)


def test_majorities():
    classes, shares = majorities(np.asarray([[1, 0, 0, 1], [0, 0, 0, 1], [1, 0, 0, 2]]))
    np.testing.assert_array_equal(classes, [0, -1, -1, 2])
    np.testing.assert_array_equal(shares, [0.5, np.nan, np.nan, 0.5])


def test_silhouette_is_scikit_learns_on_a_sample():
    latents, clusters = RNG.normal(size=(60, 3)), RNG.integers(0, 4, 60)
    assert silhouette(latents, clusters) == pytest.approx(metrics.silhouette_score(latents, clusters))
    assert silhouette(latents + 100.0 * clusters[:, None], clusters, sample=30) > 0.9


def test_overlap_is_the_integral_of_the_root_of_both_densities():
    mean, log_var = np.asarray([[0.0, 1.0], [2.0, 0.5], [9.0, 9.0]]), np.log([[1.0, 4.0], [2.0, 0.5], [1.0, 1.0]])
    grid = np.stack(np.meshgrid(np.linspace(-12, 14, 401), np.linspace(-12, 14, 401)), axis=-1)
    roots = [
        np.sqrt(multivariate_normal(own, np.diag(np.exp(spread))).pdf(grid))
        for own, spread in zip(mean[:2], log_var[:2], strict=True)
    ]
    assert prior_overlap(mean, log_var) == pytest.approx(np.sum(roots[0] * roots[1]) * (26 / 400) ** 2, rel=1e-4)
    assert prior_overlap(mean[[0, 0]], log_var[[0, 0]]) == pytest.approx(1.0)
    assert prior_overlap(mean[:1], log_var[:1]) is None


def test_unsupervised_scores_by_name():
    log_memberships = np.log([[0.7, 0.2, 0.1]] * 3 + [[0.1, 0.9, 0.1]])
    mixture = GaussianMixture(np.zeros(3), np.zeros((3, 2)), np.zeros((3, 2)))
    latents = RNG.normal(size=(4, 2))
    assert unsupervised_scores(latents, log_memberships, mixture) == {
        "cluster_entropy": pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25)),
        "empty_clusters": 1,
        "mean_confidence": pytest.approx(0.75),
        "silhouette": silhouette(latents, np.asarray([0, 0, 0, 1])),
        "prior_overlap": pytest.approx(1.0),
    }


def test_over_seeds_takes_what_is_a_number_in_all_runs():
    members = [{"nmi": 0.5, "silhouette": None, "sizes": [1]}, {"nmi": 0.7, "silhouette": 0.1, "sizes": [2]}]
    assert over_seeds(members) == {"mean": {"nmi": pytest.approx(0.6)}, "sd": {"nmi": pytest.approx(0.1 * 2**0.5)}}
