"""All scores of a model on real images, with labels or without."""

import numpy as np

from mpcc_jax.evaluation.encode import encode_images

SMALLEST_SAMPLE = 2000


def choose_sample(count, seen, num_images):
    """Which images a run is scored on: all of them, as in the paper, unless it is a short trial.

    Args:
      count: images in the data set, N.
      seen: images that training draws in all.
      num_images: `config.evaluation.num_images`; 0 is N, or as many as training draws if that is less, at least 2000.

    Returns:
      Sorted indices into the data set; a slice if it is all of them.
    """
    size = min(count, num_images or max(seen, SMALLEST_SAMPLE))
    if size == count:
        return slice(None)
    return np.sort(np.random.default_rng(0).choice(count, size, replace=False))


def score_encoding(encoding, labels, mixture):
    """Scores the clustering that an encoding stands for.

    Args:
      encoding: the `Encoding` of N images.
      labels: integers, [N], or None.
      mixture: the `GaussianMixture` behind its memberships.

    Returns:
      Scores by name: those against labels, if there are any, and those without, "evaluated_images" and "cluster_sizes";
      and the clusters, integers, [N].
    """
    clusters = encoding.log_membership.argmax(axis=-1)
    sizes = cluster_sizes(clusters, mixture.num_components)
    scores = {
        **({} if labels is None else clustering_scores(labels, clusters)),
        **unsupervised_scores(encoding.mean, encoding.log_membership, sizes, mixture),
        "evaluated_images": len(clusters),
        "cluster_sizes": sizes.tolist(),
    }
    return scores, clusters


def score(model, state, images, labels, batch_size):
    """Clusters images and scores the clustering.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      images: uint8, [N, H, W, C].
      labels: integers, [N], or None.
      batch_size: images per call of the encoder.

    Returns:
      As `score_encoding`.
    """
    encoding = encode_images(model, state, images, batch_size)
    return score_encoding(encoding, labels, model.prior.membership_mixture(state.params["prior"]))


def over_seeds(members):
    """Mean and standard deviation over runs, as the paper's tables give them.

    Args:
      members: the scores of every run, by name.

    Returns:
      "mean" and "sd" (with n - 1 below the line), each by name, of the scores that are numbers in all runs.
    """
    names = [name for name in members[0] if all(isinstance(scores[name], int | float) for scores in members)]
    table = {name: [float(scores[name]) for scores in members] for name in names}
    return {
        "mean": {name: float(np.mean(values)) for name, values in table.items()},
        "sd": {name: float(np.std(values, ddof=1)) for name, values in table.items()},
    }


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
