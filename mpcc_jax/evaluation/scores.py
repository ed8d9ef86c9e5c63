"""All scores of a model on real images, with labels or without."""

import numpy as np

from mpcc_jax.evaluation.clustering import cluster_sizes, clustering_scores
from mpcc_jax.evaluation.networks import encode_images
from mpcc_jax.evaluation.unsupervised import unsupervised_scores

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
    return score_encoding(encoding, labels, model.prior.membership(state.params["prior"]))


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
