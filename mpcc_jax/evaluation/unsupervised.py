"""Scores of a clustering that need no labels."""

import numpy as np

SILHOUETTE_SAMPLE = 2000


def cluster_entropy(sizes):
    """Entropy of the share of images per cluster: log K if all are used alike, 0 if one holds everything.

    Args:
      sizes: images per cluster, [K].

    Returns:
      Nats.
    """
    from scipy.stats import entropy

    return float(entropy(sizes))


def mean_confidence(log_memberships):
    """Mean probability of the likeliest component, exp of the maximum of Eq. 9.

    Args:
      log_memberships: [N, K].

    Returns:
      In [1 / K, 1].
    """
    return float(np.exp(np.max(log_memberships, axis=-1)).mean())


def silhouette(latents, clusters, sample=SILHOUETTE_SAMPLE):
    """Mean silhouette of the encoder's means under Euclidean distance, on a fixed random sample.

    Args:
      latents: means of q(z given x), [N, J].
      clusters: predicted clusters, integers, [N].
      sample: at most so many examples, as all pairs of them are compared.

    Returns:
      In [-1, 1], or None where it is not defined: a single cluster, or every example its own.
    """
    from sklearn.metrics import silhouette_score

    chosen = np.random.default_rng(0).permutation(len(latents))[:sample]
    latents, clusters = latents[chosen], clusters[chosen]
    if not 1 < len(np.unique(clusters)) < len(clusters):
        return None
    return float(silhouette_score(latents, clusters))


def prior_overlap(mean, log_var):
    """How much the components of the prior overlap: the Bhattacharyya coefficient of the two that do most.

    Args:
      mean: [K, J].
      log_var: [K, J].

    Returns:
      In [0, 1], 1 for two components that are the same; None if there is but one.
    """
    from scipy.spatial.distance import squareform

    mean, variance = np.asarray(mean, np.float64), np.exp(np.asarray(log_var, np.float64))
    if len(mean) < 2:
        return None
    average = (variance[:, None] + variance[None]) / 2
    logs = np.log(variance).sum(axis=-1)
    distance = np.sum((mean[:, None] - mean[None]) ** 2 / average, axis=-1) / 8
    distance += (np.log(average).sum(axis=-1) - (logs[:, None] + logs[None]) / 2) / 2
    return float(np.exp(-squareform(distance, checks=False).min()))


def unsupervised_scores(latents, log_memberships, sizes, mixture):
    """All scores without labels.

    Args:
      latents: means of q(z given x), [N, J].
      log_memberships: [N, K].
      sizes: images per cluster, [K].
      mixture: the `GaussianMixture` behind the memberships.

    Returns:
      By name: cluster_entropy (nats), empty_clusters (a count), mean_confidence, silhouette, prior_overlap.
    """
    return {
        "cluster_entropy": cluster_entropy(sizes),
        "empty_clusters": int((np.asarray(sizes) == 0).sum()),
        "mean_confidence": mean_confidence(log_memberships),
        "silhouette": silhouette(latents, log_memberships.argmax(axis=-1)),
        "prior_overlap": prior_overlap(mixture.mean, mixture.log_var),
    }
