"""Clustering scores on cases that are clear by hand, and against scikit-learn."""

import itertools

import numpy as np
from sklearn import metrics

from mpcc_jax.evaluation.scores import (
    cluster_sizes,
    clustering_scores,
    confusion_matrix,
    majorities,
    many_to_one_accuracy,
    one_to_one_accuracy,
)

RNG = np.random.default_rng(0)


def test_many_to_one_lets_clusters_share_a_class():
    labels, clusters = np.asarray([0, 0, 0, 0, 1, 1]), np.asarray([0, 0, 1, 1, 2, 1])
    assert many_to_one_accuracy(labels, clusters) == 5 / 6
    assert one_to_one_accuracy(labels, clusters) == 3 / 6


def test_accuracies_are_the_best_over_all_mappings():
    """Eq. 11 by brute force: all maps of clusters to classes, and all one-to-one maps."""
    labels, clusters = RNG.integers(0, 4, (2, 60))
    maps = np.asarray(list(itertools.product(range(4), repeat=4)))
    hits = (maps[:, clusters] == labels).mean(-1)
    one_to_one = [len(set(mapping)) == 4 for mapping in maps]
    np.testing.assert_allclose(many_to_one_accuracy(labels, clusters), hits.max())
    np.testing.assert_allclose(one_to_one_accuracy(labels, clusters), hits[one_to_one].max())


def test_more_clusters_than_classes():
    labels, clusters = np.asarray([0, 0, 1, 1]), np.asarray([5, 3, 9, 9])
    assert many_to_one_accuracy(labels, clusters) == 1.0
    assert one_to_one_accuracy(labels, clusters) == 0.75


def test_scores_of_a_relabelled_truth_are_perfect():
    labels = RNG.integers(0, 5, 200)
    scores = clustering_scores(labels, np.asarray([3, 0, 4, 1, 2])[labels])
    np.testing.assert_allclose(list(scores.values()), 1.0)


def test_scores_by_name():
    labels, clusters = RNG.integers(0, 3, (2, 50))
    scores = clustering_scores(labels, clusters)
    assert set(scores) == {"accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ami", "ari"}
    np.testing.assert_allclose(scores["nmi"], metrics.normalized_mutual_info_score(labels, clusters))
    np.testing.assert_allclose(scores["ami"], metrics.adjusted_mutual_info_score(labels, clusters))
    np.testing.assert_allclose(scores["ari"], metrics.adjusted_rand_score(labels, clusters))
    many_to_one = metrics.cluster.contingency_matrix(labels, clusters).max(0).sum() / 50
    np.testing.assert_allclose(scores["accuracy_many_to_one"], many_to_one)


def test_cluster_sizes_count_empty_clusters():
    np.testing.assert_array_equal(cluster_sizes(np.asarray([2, 2, 0]), 4), [1, 0, 2, 0])


def test_confusion_and_majorities():
    labels, clusters = np.asarray([0, 0, 1, 2, 2, 2]), np.asarray([0, 3, 3, 3, 3, 0])
    confusion = confusion_matrix(labels, clusters, 3, 4)
    np.testing.assert_array_equal(confusion[:, [0, 3]], metrics.cluster.contingency_matrix(labels, clusters))
    classes, shares = majorities(confusion)
    np.testing.assert_array_equal(classes, [0, -1, -1, 2])
    np.testing.assert_array_equal(shares, [0.5, np.nan, np.nan, 0.5])
