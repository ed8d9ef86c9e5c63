"""Classes of unequal frequency: is phi learnt, and what is it worth? The paper leaves it to future work (section 6).

python -m reproduce.imbalanced [--dataset=digits] [--seeds=0-9] [--arms=fixed,oracle,em,gradient] [--out=results]
python -m reproduce.imbalanced --dataset=mnist --seeds=0-2 --data_dir=DIR
python -m reproduce.imbalanced --table_only

Class sizes fall geometrically to a tenth, from 178 images of the most frequent digit (or all of it) or 6313 of MNIST's;
the seed draws which is which. Networks and iterations are those of `--scale=cpu`. Each run has a record in
OUT/imbalanced/DATASET/; OUT/imbalanced.md has the tables. "oracle" is given the true shares.
"""

import argparse
import copy
import sys
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from scipy.optimize import linear_sum_assignment
from scipy.stats import ttest_1samp

from mpcc_jax.compilation import leave_loops_rolled
from mpcc_jax.config import validate
from mpcc_jax.data import Dataset, from_arrays, load_dataset
from mpcc_jax.data.warm_labels import make_warm_labels
from mpcc_jax.errors import MPCCError
from mpcc_jax.evaluation.scores import clustering_scores, confusion_matrix
from mpcc_jax.trained_model import load
from mpcc_jax.training.train import train
from mpcc_jax.workdir import prepare_workdir, write_json
from reproduce.__main__ import choose, expand, parse_seeds
from reproduce.baselines import METHODS, available_methods, cluster
from reproduce.markdown import render
from reproduce.runs import describe_hardware, read_commit, read_json
from reproduce.tables import TABLES, configure

LARGEST, RATIO, NUM_CLASSES, RAREST = {"digits": 178, "mnist": 6313}, 10.0, 10, 3
ROWS = {row.name: row for row in TABLES["extended"].rows}
TITLES = {"digits": "Digits, 10 : 1", "mnist": "MNIST at 16x16, 10 : 1"}
ARMS = {"fixed": "uniform", "oracle": "em", "em": "em", "gradient": "gradient"}
BASELINES = ("kmeans_pca", "gaussian_mixture_full", "ward", "neighbor_map", "neighbor_map_average", "umap_hdbscan")


def get_config(name: str, seed: int, data_dir: Path | None = None) -> ConfigDict:
    """Makes the configuration of a run; equal iterations for all arms."""
    config = configure(ROWS[name], "paper", "cpu", seed, data_dir=str(data_dir) if data_dir else None)
    config.variant = "extended"
    return config


def thin_out(dataset: Dataset, largest: int, seed: int) -> Dataset:
    """Draws images of each class, geometrically fewer from class to class."""
    rng = np.random.default_rng(seed)
    sizes = np.round(largest * RATIO ** -np.linspace(0, 1, NUM_CLASSES)).astype(int)
    classes = rng.permutation(NUM_CLASSES)
    chosen = [rng.permutation(np.flatnonzero(dataset.labels == k))[:n] for k, n in zip(classes, sizes, strict=True)]
    chosen = np.sort(np.concatenate(chosen))
    return from_arrays(dataset.images[chosen], dataset.labels[chosen], name=f"imbalanced_{dataset.name}_{seed}")


def classes_of(labels: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Returns the class of each of K clusters under the best one-to-one assignment."""
    rows, columns = linear_sum_assignment(-confusion_matrix(labels, clusters, NUM_CLASSES, NUM_CLASSES))
    return rows[np.argsort(columns)]


def score(labels: np.ndarray, clusters: np.ndarray) -> dict[str, float]:
    """ARI and NMI, and the mean recall of the rarest classes, each by the cluster that is assigned to it."""
    _, numbered = np.unique(clusters, return_inverse=True)
    counts = confusion_matrix(labels, numbered, NUM_CLASSES, int(numbered.max()) + 1)
    rows, columns = linear_sum_assignment(-counts)
    sizes, found = counts.sum(axis=1), np.zeros(NUM_CLASSES)
    found[rows] = counts[rows, columns]
    rarest = np.argsort(sizes)[:RAREST]
    scores = clustering_scores(labels, clusters)
    return {"ari": scores["ari"], "nmi": scores["nmi"], "recall_of_rarest": float((found / sizes)[rarest].mean())}


def run_arm(arm: str, config: ConfigDict, dataset: Dataset, workdir: Path) -> dict:
    """Trains one arm on one draw of the data, and returns its record."""
    shares = np.bincount(dataset.labels, minlength=NUM_CLASSES) / len(dataset.labels)
    config.prior.weights = ARMS[arm]
    if arm == "oracle":
        # The warm start ties a component to a cluster of the map, which is cut for weights that are not uniform.
        class_of = classes_of(dataset.labels, make_warm_labels(config, dataset.images))
        config.prior.weights = ",".join(f"{share:.8f}" for share in shares[class_of])
    validate(config)
    if (results := train(config, workdir, dataset)) is None:
        sys.exit(1)
    trained = load(workdir)
    clusters = trained.predict(dataset.images)
    weights = np.exp(np.asarray(trained.prior.log_weights, np.float64))
    class_of = classes_of(dataset.labels, clusters)
    return {
        "arm": arm,
        "seed": config.seed,
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


def render_table(records: list[dict]) -> list[str]:
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
    return render(headings, rows)


def write_tables(out: Path) -> None:
    """Writes OUT/imbalanced.md from the records that are there."""
    lines = ["# Clusters of unequal size", ""]
    for name, title in TITLES.items():
        records = [read_json(path) for path in sorted((out / "imbalanced" / name).glob("*.json"))]
        lines += [f"## {title}", "", *render_table(records), ""] if records else []
    (out / "imbalanced.md").write_text("\n".join(lines))


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", choices=LARGEST, default="digits")
    parser.add_argument("--seeds", default="0-9", help="how many (5 is 0 to 4), or which (0,3 or 10-19)")
    parser.add_argument("--arms", help=f"of {', '.join((*ARMS, *BASELINES))}; all otherwise")
    parser.add_argument("--data_dir", type=expand, help="where TFDS data is")
    parser.add_argument("--out", type=expand, default="results")
    parser.add_argument("--runs", type=expand, default="runs/imbalanced")
    parser.add_argument("--table_only", action="store_true")
    given = parser.parse_args(arguments)
    leave_loops_rolled()
    folder = given.out / "imbalanced" / given.dataset
    try:
        arms = choose("--arms", given.arms, (*ARMS, *BASELINES))
        if "umap_hdbscan" in arms and not given.table_only:
            available = (*ARMS, *available_methods())
            arms = [arm for arm in arms if arm in available]
        prepare_workdir(folder)
        for seed in () if given.table_only else parse_seeds(given.seeds):
            config = get_config(given.dataset, seed, given.data_dir)
            dataset = thin_out(load_dataset(config), LARGEST[given.dataset], seed)
            for arm in arms:
                path = folder / f"{arm}_seed{seed}.json"
                if path.exists():
                    continue
                if arm in BASELINES:
                    record = run_baseline(arm, seed, dataset)
                else:
                    workdir = given.runs / given.dataset / arm / f"seed{seed}"
                    record = run_arm(arm, copy.deepcopy(config), dataset, workdir)
                write_json(path, record)
                print(f"{arm}, seed {seed}: {record['scores']}")
        write_tables(given.out)
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
