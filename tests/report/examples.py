"""Small findings of a made-up model: 8x8 images, three clusters far apart in four dimensions."""

import numpy as np

from mpcc_jax.report import Findings


def images(*shape, size=8, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, size, size, channels)).astype(np.uint8)


def make_some_findings(num_clusters=3, channels=1, size=8, **changes):
    """What every report needs, and nothing else."""
    fields = {
        "title": "A model",
        "iteration": 1234,
        "data": {"name": "made up"},
        "scores": {"cluster_entropy": 1.0},
        "cluster_sizes": np.arange(1, num_clusters + 1),
        "samples": images(num_clusters, 4, channels=channels, size=size),
    }
    return Findings(**fields | changes)


def make_all_findings(num_clusters=3, channels=1, names=("zero", "one", "two"), **changes):
    """Everything there can be."""
    rng = np.random.default_rng(1)
    mean = 6.0 * rng.normal(size=(num_clusters, 4))
    clusters = np.arange(10 * num_clusters) % num_clusters
    labels = clusters % len(names)
    confusion = np.zeros((len(names), num_clusters), int)
    np.add.at(confusion, (labels, clusters), 1)
    iterations = np.arange(100, 700, 100)
    rows = [images(5, channels=channels, seed=k) for k in range(num_clusters)]
    fields = {
        "data": {"name": "made up", "version": "1.0", "split": "train", "count": 1797},
        "scores": {"accuracy_many_to_one": 0.9, "accuracy_one_to_one": 0.8, "silhouette": None, "own_score": 3},
        "generation": {
            "fid": 12.5,
            "kid": None,
            "kid_missing": "no features",
            "inception_score": {"mean": 2.5, "sd": 0.125, "num_splits": 10},
            "protocol": {"images": {"real": 100}, "network": "inception"},
        },
        "majorities": [(names[k % len(names)], 0.75) for k in range(num_clusters)],
        "typical": rows,
        "atypical": rows[::-1],
        "originals": images(9, channels=channels),
        "reconstructions": images(9, channels=channels, seed=1),
        "outliers": images(3, channels=channels, seed=2),
        "outlier_log_probs": np.asarray([-1234.56, -20.0, -3.0]),
        "interpolations": images(2, 7, channels=channels),
        "confusion": confusion,
        "class_names": names,
        "latents": mean[clusters] + rng.normal(size=(len(clusters), 4)),
        "clusters": clusters,
        "labels": labels,
        "prior_mean": mean,
        "prior_std": rng.uniform(0.5, 1.5, mean.shape),
        "history": {
            "generator_loss": (iterations, np.linspace(1, 2, 6)),
            "logits_real": (iterations, np.linspace(0, 1, 6)),
            "seconds_per_cup_of_tea": (iterations, np.ones(6)),
        },
        "config": {"seed": 0, "model": {"num_clusters": num_clusters}, "checkpoints": {"every": 1000}},
        "environment": {"device": "a processor", "versions": {"jax": "0.10.2"}},
    }
    return make_some_findings(num_clusters, channels, **fields | changes)
