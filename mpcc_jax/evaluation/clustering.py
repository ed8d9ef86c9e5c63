"""Scores of a clustering against labels: both accuracies by their full names, NMI, AMI and ARI."""

import numpy as np


def _contingency(labels, clusters):
    from sklearn.metrics.cluster import contingency_matrix

    return contingency_matrix(labels, clusters)


def many_to_one_accuracy(labels, clusters):
    """Accuracy when every cluster stands for its most frequent class (Eq. 11; also called purity).

    Several clusters may stand for one class.

    Args:
      labels: true classes, integers, [N].
      clusters: predicted clusters, integers, [N].

    Returns:
      Fraction in [0, 1].
    """
    return float(_contingency(labels, clusters).max(axis=0).sum() / len(labels))


def one_to_one_accuracy(labels, clusters):
    """Accuracy under the best one-to-one assignment of clusters to classes (Hungarian), as later work reports.

    Args:
      labels: true classes, integers, [N].
      clusters: predicted clusters, integers, [N].

    Returns:
      Fraction in [0, 1].
    """
    from scipy.optimize import linear_sum_assignment

    counts = _contingency(labels, clusters)
    rows, columns = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, columns].sum() / len(labels))


def clustering_scores(labels, clusters):
    """All scores against labels.

    Args:
      labels: true classes, integers, [N].
      clusters: predicted clusters, integers, [N].

    Returns:
      By name, 1 at best: accuracy_many_to_one (Eq. 11), accuracy_one_to_one, nmi, ami and ari (0 by chance).
    """
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, normalized_mutual_info_score

    return {
        "accuracy_many_to_one": many_to_one_accuracy(labels, clusters),
        "accuracy_one_to_one": one_to_one_accuracy(labels, clusters),
        "nmi": float(normalized_mutual_info_score(labels, clusters)),
        "ami": float(adjusted_mutual_info_score(labels, clusters)),
        "ari": float(adjusted_rand_score(labels, clusters)),
    }


def cluster_sizes(clusters, num_clusters):
    """How many examples every cluster got.

    Args:
      clusters: predicted clusters, integers, [N].
      num_clusters: K.

    Returns:
      Counts, [K].
    """
    return np.bincount(clusters, minlength=num_clusters)


def confusion_matrix(labels, clusters, num_classes, num_clusters):
    """How many images of every class are in every cluster.

    Args:
      labels: true classes, integers, [N].
      clusters: predicted clusters, integers, [N].
      num_classes: rows.
      num_clusters: K, columns.

    Returns:
      Counts, [num_classes, K].
    """
    counts = np.zeros((num_classes, num_clusters), np.int64)
    np.add.at(counts, (labels, clusters), 1)
    return counts


def majorities(confusion):
    """The most frequent class of every cluster, and its share.

    Args:
      confusion: from `confusion_matrix`, [classes, K].

    Returns:
      Classes, integers, [K], -1 for an empty cluster; and shares in [0, 1], [K], NaN for an empty cluster.
    """
    sizes = confusion.sum(axis=0)
    shares = np.divide(confusion.max(axis=0), sizes, out=np.full(len(sizes), np.nan), where=sizes > 0)
    return np.where(sizes > 0, confusion.argmax(axis=0), -1), shares
