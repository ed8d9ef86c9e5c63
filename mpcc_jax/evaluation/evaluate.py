"""A trained model measured and looked at on real images: scores for evaluation.json, and findings for the report."""

import dataclasses
import json

import jax
import numpy as np

from mpcc_jax.data.loader import to_float
from mpcc_jax.errors import InputError
from mpcc_jax.evaluation.encode import Encoding
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.evaluation.scores import confusion_matrix, majorities, score_encoding
from mpcc_jax.report.findings import Findings
from mpcc_jax.trained_model import TrainedModel

BLOCK = 2000
LATENT_SAMPLE = 5000
MAP_SAMPLE = 5000
SHOWN = 8
SHOWN_OUTLIERS = 24
ROWS = 6
STEPS = 9


@dataclasses.dataclass(frozen=True, eq=False)
class Assessment:
    """What a model makes of a data set.

    Attributes:
      trained: the `TrainedModel`.
      dataset: the `Dataset`.
      chosen: indices of the images that were looked at, [N].
      encoding: of them, an `Encoding`.
      clusters: of them, integers, [N].
      scores: numbers by name, and "cluster_sizes".
      confusion: counts, [classes, K], or None without labels.
    """

    trained: TrainedModel
    dataset: object
    chosen: np.ndarray
    encoding: Encoding
    clusters: np.ndarray
    scores: dict
    confusion: np.ndarray | None

    @property
    def class_names(self):
        """One per class, or None without labels."""
        if self.confusion is None:
            return None
        return list(self.dataset.class_names or map(str, range(len(self.confusion))))

    def describe_majorities(self):
        """The most frequent class of every cluster.

        Returns:
          K pairs (class name, share in [0, 1]), None for an empty cluster; None without labels.
        """
        if self.confusion is None:
            return None
        pairs = zip(*majorities(self.confusion), strict=True)
        return [None if one < 0 else (self.class_names[one], float(share)) for one, share in pairs]


def reconstruction_mse(trained, images, encoding):
    """Mean squared error of G(E(x)) (table 1), over images and pixels.

    Args:
      trained: the `TrainedModel`.
      images: uint8, [N, H, W, C].
      encoding: of them.

    Returns:
      In squares of pixels in [-1, 1].
    """
    total, clusters = 0.0, encoding.log_membership.argmax(axis=-1)
    for start in range(0, len(images), BLOCK):
        block = slice(start, start + BLOCK)
        decoded = trained.decode(encoding.mean[block], clusters[block])
        total += float(np.sum((decoded - np.asarray(to_float(images[block]))) ** 2, dtype=np.float64))
    return total / images.size


def cycle_scores(trained, key, count=LATENT_SAMPLE):
    """How well the encoder finds what the generator was given: E(G(z, y)) against z and y.

    Args:
      trained: the `TrainedModel`.
      key: PRNG key of the latents.
      count: how many are drawn from the prior.

    Returns:
      "latent_mse", the squared distance of z and the encoder's mean, summed over J and averaged over draws (E_MSE in
      the released code); "generated_cluster_accuracy", the fraction of draws whose component is found again.
    """
    z, y = trained.draw(key, count)
    squares, found = 0.0, 0
    for start in range(0, count, BLOCK):
        block = slice(start, start + BLOCK)
        encoding = trained.encode(trained.decode(z[block], y[block]))
        squares += float(np.sum((encoding.mean - z[block]) ** 2, dtype=np.float64))
        found += int(np.sum(encoding.log_membership.argmax(axis=-1) == y[block]))
    return {"latent_mse": squares / count, "generated_cluster_accuracy": found / count}


def assess(trained, dataset, chosen=slice(None), key=0):
    """Scores a model on real images.

    Args:
      trained: the `TrainedModel`.
      dataset: the `Dataset`.
      chosen: indices of the images that are looked at; all of them, as in the paper.
      key: PRNG key or seed of the latents that are drawn.

    Returns:
      An `Assessment`.

    Raises:
      InputError: if the images are not of the model's size.
    """
    if dataset.images.shape[1:] != trained.image_shape:
        raise InputError(f"images are {dataset.images.shape[1:]}; allowed: {trained.image_shape}, those of the model.")
    chosen = np.arange(len(dataset.images))[chosen]
    images, labels = dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen]
    encoding = trained.encode(images)
    mixture = trained.model.prior.membership_mixture(trained.weights.params["prior"])
    scores, clusters = score_encoding(encoding, labels, mixture)
    scores["reconstruction_mse"] = reconstruction_mse(trained, images, encoding)
    scores |= cycle_scores(trained, key)
    confusion = None
    if labels is not None:
        confusion = confusion_matrix(labels, clusters, len(dataset.class_sizes), trained.num_clusters)
    return Assessment(trained, dataset, chosen, encoding, clusters, scores, confusion)


def find_extremes(own_log_prob, clusters, num_clusters, count=SHOWN):
    """The most and least typical examples of every cluster.

    Args:
      own_log_prob: log density of every example under its own component, nats, [N].
      clusters: integers, [N].
      num_clusters: K.
      count: at most so many of each.

    Returns:
      Two lists of K index arrays: the most typical first; the least typical first. They share no example.
    """
    typical, atypical = [], []
    for cluster in range(num_clusters):
        members = np.flatnonzero(clusters == cluster)
        members = members[np.argsort(-own_log_prob[members], kind="stable")]
        half = min(count, (len(members) + 1) // 2)
        typical.append(members[:half])
        atypical.append(members[half:][::-1][:count])
    return typical, atypical


def read_history(path, seed=None):
    """What a run has logged.

    Args:
      path: `pathlib.Path` of metrics.jsonl.
      seed: which run, if several were trained at once.

    Returns:
      Pairs of arrays (iterations, values) by name; of numbers only.
    """
    history = {}
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        try:
            values = json.loads(line)
        except ValueError:  # a kill leaves half a line
            continue
        if seed is not None and values.get("seed", seed) != seed:
            continue
        iteration = values.pop("iteration")
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "seed":
                history.setdefault(name, []).append((iteration, value))
    return {name: tuple(np.asarray(series).T) for name, series in history.items()}


def gather_findings(assessment, key=0, **context):
    """All that the report shows of a model.

    Args:
      assessment: an `Assessment`.
      key: PRNG key or seed of the generated images.
      **context: other fields of `Findings`: title, generation, history, config, environment.

    Returns:
      `Findings`.
    """
    trained, encoding, clusters = assessment.trained, assessment.encoding, assessment.clusters
    count, rng = trained.num_clusters, np.random.default_rng(0)
    images = assessment.dataset.images[assessment.chosen]
    mixture = trained.model.prior.membership_mixture(trained.weights.params["prior"])
    own = np.asarray(jax.jit(mixture.component_log_prob)(encoding.mean))[np.arange(len(images)), clusters]
    typical, atypical = find_extremes(own, clusters, count)
    rare = np.argsort(encoding.log_prob, kind="stable")[:SHOWN_OUTLIERS]
    shown = np.concatenate(
        [rng.permutation(np.flatnonzero(clusters == k))[: max(40 // count, 1)] for k in range(count)]
    )
    mapped = np.sort(rng.permutation(len(images))[:MAP_SAMPLE])
    ends = rng.permutation(len(images))[: 2 * ROWS]
    ends = ends[: len(ends) // 2 * 2].reshape(2, -1)
    paths = trained.interpolate(images[ends[0]], images[ends[1]], STEPS) if ends.size else None
    y = np.repeat(np.arange(count), SHOWN)
    samples = to_uint8(trained.generate(key, len(y), cluster=y))
    labels, data = assessment.dataset.labels, assessment.dataset
    return Findings(
        iteration=trained.iteration,
        data={"name": data.name, "version": data.version, "split": data.split, "count": len(data.images)},
        scores={name: value for name, value in assessment.scores.items() if name != "cluster_sizes"},
        cluster_sizes=np.asarray(assessment.scores["cluster_sizes"]),
        samples=samples.reshape(count, SHOWN, *samples.shape[1:]),
        majorities=assessment.describe_majorities(),
        typical=[images[rows] for rows in typical],
        atypical=[images[rows] for rows in atypical],
        originals=images[shown],
        reconstructions=to_uint8(trained.reconstruct(images[shown])),
        outliers=images[rare],
        outlier_log_probs=encoding.log_prob[rare],
        interpolations=None if paths is None else to_uint8(paths),
        confusion=assessment.confusion,
        class_names=assessment.class_names,
        latents=encoding.mean[mapped],
        clusters=clusters[mapped],
        labels=None if labels is None else labels[assessment.chosen][mapped],
        prior_mean=np.asarray(mixture.mean),
        prior_std=np.exp(0.5 * np.asarray(mixture.log_var)),
        **context,
    )
