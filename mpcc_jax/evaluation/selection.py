"""Several runs of the same data and configuration, without labels: which one to keep, and what they agree on."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Integer
from scipy.stats import rankdata
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.evaluation.encode import Encoding
from mpcc_jax.evaluation.scores import silhouette


def compare_runs(encodings: Sequence[Encoding]) -> list[dict[str, float]]:
    """Scores runs by encodings of the same images, none of the scores with labels; more is better.

    Returns for each run, by name: "silhouette" of its clusters in the latents of all runs, mean; "agreement", mean ARI
    with the clusters of the others; "confidence", mean probability of the likeliest component; and "rank", the sum of
    its ranks by these three, by which `choose_run` chooses.
    """
    clusters = [encoding.log_membership.argmax(axis=-1) for encoding in encodings]
    scores = []
    for index, own in enumerate(clusters):
        silhouettes = [silhouette(encoding.mean, own) for encoding in encodings]
        others = [adjusted_rand_score(own, other) for j, other in enumerate(clusters) if j != index]
        confidence = np.exp(encodings[index].log_membership.max(axis=-1)).mean()
        scores.append(
            {
                "silhouette": -1.0 if None in silhouettes else float(np.mean(silhouettes)),
                "agreement": float(np.mean(others)) if others else 1.0,
                "confidence": float(confidence),
            }
        )
    ranks = sum(rankdata([entry[name] for entry in scores]) for name in scores[0])
    return [{**entry, "rank": float(rank)} for entry, rank in zip(scores, ranks, strict=True)]


def choose_run(scores: Sequence[dict[str, float]]) -> int:
    """Returns the index of the run with the highest sum of ranks; of equals that with the highest silhouette."""
    return max(range(len(scores)), key=lambda index: (scores[index]["rank"], scores[index]["silhouette"]))


def consensus(
    clusters: Sequence[Integer[np.ndarray, " N"]], num_clusters: int
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, " N"]]:
    """Clusters what several clusterings of the same images agree on, by spectral clustering of their co-association.

    Returns consensus clusters, and the share of the runs that agree with each, where every cluster of a run stands for
    the consensus cluster that it overlaps most.

    References:
      Strehl and Ghosh. Cluster Ensembles: a knowledge reuse framework for combining multiple partitions. JMLR 2002.
    """
    indicators = np.concatenate([own[:, None] == np.unique(own)[None, :] for own in clusters], axis=1).astype(float)
    scaled = indicators / np.sqrt(indicators.sum(axis=0, keepdims=True))
    vectors = np.linalg.svd(scaled, full_matrices=False)[0][:, :num_clusters]
    found = KMeans(num_clusters, n_init=10, random_state=0).fit_predict(vectors)
    votes = np.stack([_translate(own, found) == found for own in clusters])
    return found, votes.mean(axis=0)


def _translate(own: Integer[np.ndarray, " N"], found: Integer[np.ndarray, " N"]) -> Integer[np.ndarray, " N"]:
    """Renames every cluster to the one of `found` that it overlaps most."""
    names, index = np.unique(own, return_inverse=True)
    return np.array([np.bincount(found[own == name]).argmax() for name in names])[index]
