"""Digits of unequal frequency: is phi learnt, and what is it worth? The paper leaves it to future work (section 6).

python -m reproduce.imbalanced [--seeds=0-9] [--arms=fixed,oracle,em,gradient] [--out=results] [--runs=runs/imbalanced]
python -m reproduce.imbalanced --table_only

Class sizes fall geometrically, from 178 images of the most frequent digit (or all of it) to 18 of the rarest; the seed
draws which is which. Each run has a record in OUT/imbalanced/; OUT/imbalanced.md is the table. "oracle" is given the
true shares.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.stats import ttest_1samp
from sklearn.datasets import load_digits

from mpcc_jax.compilation import leave_loops_rolled
from mpcc_jax.config import get_config, validate
from mpcc_jax.data import Dataset, from_arrays
from mpcc_jax.data.warm_labels import make_warm_labels
from mpcc_jax.errors import MPCCError
from mpcc_jax.evaluation.scores import clustering_scores, confusion_matrix
from mpcc_jax.trained_model import load
from mpcc_jax.training.train import train
from mpcc_jax.workdir import prepare_workdir, write_json
from reproduce.__main__ import choose, expand, parse_seeds
from reproduce.baselines import METHODS, cluster
from reproduce.markdown import render
from reproduce.runs import describe_hardware, read_commit, read_json

LARGEST, RATIO, NUM_CLASSES, RAREST = 178, 10.0, 10, 3
ARMS = {"fixed": "uniform", "oracle": None, "em": "em", "gradient": "gradient"}
BASELINES = ("kmeans_pca", "gaussian_mixture_full", "ward", "neighbor_map")


def imbalanced_digits(seed: int) -> Dataset:
    """Draws images of each digit, geometrically fewer from class to class."""
    digits, rng = load_digits(), np.random.default_rng(seed)
    sizes = np.round(LARGEST * RATIO ** -np.linspace(0, 1, NUM_CLASSES)).astype(int)
    classes = rng.permutation(NUM_CLASSES)
    chosen = [rng.permutation(np.flatnonzero(digits.target == k))[:n] for k, n in zip(classes, sizes, strict=True)]
    chosen = np.sort(np.concatenate(chosen))
    images = np.uint8(np.round(digits.images[chosen] * (255 / 16)))
    return from_arrays(images[..., None], digits.target[chosen], name=f"imbalanced_digits_{seed}")


def match(labels: np.ndarray, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts by class and cluster, and the class of every cluster under the best one-to-one assignment."""
    counts = confusion_matrix(labels, clusters, NUM_CLASSES, NUM_CLASSES)
    rows, columns = linear_sum_assignment(-counts)
    return counts, rows[np.argsort(columns)]


def score(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """ARI and NMI, and the mean recall of the rarest classes, each by the cluster that is assigned to it."""
    counts, class_of = match(labels, clusters)
    found = np.zeros(NUM_CLASSES)
    found[class_of] = counts[class_of, np.arange(NUM_CLASSES)]
    recall, rarest = found / counts.sum(axis=1), np.argsort(counts.sum(axis=1))[:RAREST]
    scores = clustering_scores(labels, clusters)
    return {"ari": scores["ari"], "nmi": scores["nmi"], "recall_of_rarest": float(recall[rarest].mean())}


def run_arm(arm: str, seed: int, dataset: Dataset, workdir: Path) -> dict:
    """Trains one arm on one draw of the data, and returns its record."""
    config = get_config("digits")
    config.variant, config.seed = "extended", seed
    shares = np.bincount(dataset.labels, minlength=NUM_CLASSES) / len(dataset.labels)
    if ARMS[arm]:
        config.prior.weights = ARMS[arm]
    else:
        # The warm start ties a component to a cluster of the map.
        _, class_of = match(dataset.labels, make_warm_labels(config, dataset.images))
        config.prior.weights = ",".join(f"{share:.8f}" for share in shares[class_of])
    validate(config)
    results = train(config, workdir, dataset)
    trained = load(workdir)
    clusters = trained.predict(dataset.images)
    weights = np.exp(np.asarray(trained.prior.log_weights, np.float64))
    _, class_of = match(dataset.labels, clusters)
    return {
        "arm": arm,
        "seed": seed,
        "scores": {
            **score(dataset.labels, clusters),
            "distance_of_weights": float(np.abs(weights - shares[class_of]).sum()),
        },
        "weights": weights.tolist(),
        "seconds": results["training_seconds"],
        "iterations": results["iterations"],
        "hardware": describe_hardware(),
        "commit": read_commit(),
    }


def run_baseline(name: str, seed: int, dataset: Dataset) -> dict:
    """Clusters by one method of `reproduce.baselines`."""
    clusters, _ = cluster(name, dataset.images, NUM_CLASSES, seed)
    return {"arm": name, "seed": seed, "scores": score(dataset.labels, clusters)}


def render_table(records: list[dict]) -> str:
    """Renders means and standard deviations by arm, and the paired difference in ARI to phi fixed."""
    by_arm = {arm: {r["seed"]: r["scores"] for r in records if r["arm"] == arm} for arm in (*ARMS, *BASELINES)}
    fixed, rows = by_arm["fixed"], []
    for arm, scores in by_arm.items():
        if not scores:
            continue
        cells = []
        for name in ("ari", "nmi", "recall_of_rarest", "distance_of_weights"):
            values = [found[name] for found in scores.values() if name in found]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        both = sorted(scores.keys() & fixed.keys())
        differences = np.array([scores[seed]["ari"] - fixed[seed]["ari"] for seed in both])
        if arm != "fixed" and len(both) > 1:
            low, high = ttest_1samp(differences, 0.0).confidence_interval(0.95)
            cells.append(f"{differences.mean():+.3f} ({low:+.3f} to {high:+.3f})")
        else:
            cells.append("")
        title = METHODS[arm].title if arm in METHODS else f"MPCC, phi {arm}"
        rows.append([title, len(scores), *cells])
    headings = ("method", "seeds", "ARI", "NMI", "recall of the rarest three", "L1 of phi", "ARI against fixed")
    lines = render(headings, rows)
    return "\n".join(["# Clusters of unequal size", "", "## Digits, 10 : 1", "", *lines, ""])


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-9", help="how many (5 is 0 to 4), or which (0,3 or 10-19)")
    parser.add_argument("--arms", help=f"of {', '.join((*ARMS, *BASELINES))}; all otherwise")
    parser.add_argument("--out", type=expand, default="results")
    parser.add_argument("--runs", type=expand, default="runs/imbalanced")
    parser.add_argument("--table_only", action="store_true")
    given = parser.parse_args(arguments)
    leave_loops_rolled()
    folder = given.out / "imbalanced"
    try:
        arms = choose("--arms", given.arms, (*ARMS, *BASELINES))
        prepare_workdir(folder)
        for seed in () if given.table_only else parse_seeds(given.seeds):
            dataset = imbalanced_digits(seed)
            for arm in arms:
                path = folder / f"{arm}_seed{seed}.json"
                if path.exists():
                    continue
                workdir = given.runs / arm / f"seed{seed}"
                in_baselines = arm in BASELINES
                record = run_baseline(arm, seed, dataset) if in_baselines else run_arm(arm, seed, dataset, workdir)
                write_json(path, record)
                print(f"{arm}, seed {seed}: {record['scores']}")
        records = [read_json(path) for path in sorted(folder.glob("*.json"))]
        (given.out / "imbalanced.md").write_text(render_table(records))
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
