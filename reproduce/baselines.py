"""What classical methods make of the same images: k-means, Gaussian mixtures and spectral clustering of scikit-learn.

python -m reproduce.baselines --datasets=digits,mnist [--resolution=16] [--seeds=5] [--data_dir=DIR]
    [--out=results] [--force]

Data, split, resolution and scores are those of our runs, K the number of classes. Labels score and do nothing else.
Every fit is written to OUT/baselines/DATASET_RESOLUTION.json as soon as it is done; what is there is not fitted again.
OMP_NUM_THREADS says how many threads scikit-learn may use.
"""

import argparse
import datetime
import importlib.metadata
import itertools
import json
import os
import pathlib
import sys
import time
import warnings

import numpy as np
from absl import logging

from mpcc_jax.cli.outputs import check_output
from mpcc_jax.config import default_config, validate
from mpcc_jax.data import load_dataset
from mpcc_jax.data.cache import file_name
from mpcc_jax.errors import ConfigError, DataError, WorkdirError
from mpcc_jax.evaluation.scores import clustering_scores, over_seeds
from mpcc_jax.workdir import write_json
from reproduce.classical import METHODS, reduce_images
from reproduce.errors import ReproduceError
from reproduce.provenance import processor_name

RESOLUTIONS = {"digits": 8}  # as in configs/; all other experiments have the default's
KEY = ("method", "seed")
REQUIRED = {*KEY, "title", "count", "scores", "processor_seconds", "data"}
DATA = ("name", "version", "split", "count", "shape", "range")
SCORES = {
    "accuracy_many_to_one": "many to one (Eq. 11)",
    "accuracy_one_to_one": "one to one",
    "nmi": "NMI",
    "ari": "ARI",
}


def measure(name, images, labels, num_clusters, seed):
    """Fits a method to images, and then scores it against labels.

    Args:
      name: one of `METHODS`.
      images: uint8, [N, H, W, C].
      labels: integers, [N].
      num_clusters: K.
      seed: of the method, and of its sample.

    Returns:
      A record that JSON can hold: method, title, settings, seed, count, scores, seconds, processor_seconds, warnings.
    """
    method = METHODS[name]
    if method.sample is not None and len(images) > method.sample:
        chosen = np.sort(np.random.default_rng(seed).choice(len(images), method.sample, replace=False))
        images, labels = images[chosen], labels[chosen]
    settings = {**method.settings, "num_clusters": num_clusters}
    if method.sample is not None:
        settings["sample"] = method.sample
    started, worked = time.perf_counter(), time.process_time()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        clusters = method.fit(images, num_clusters, seed)
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - worked
    if method.reduced:
        features, variance, rule = reduce_images(images, seed)
        settings["pca"] = {"components": features.shape[1], "variance": variance, "limit": rule}
    return {
        "method": name,
        "title": method.title,
        "settings": settings,
        "seed": seed,
        "count": len(images),
        "scores": clustering_scores(labels, clusters),
        "seconds": seconds,
        "processor_seconds": processor_seconds,
        "warnings": sorted({f"{warning.category.__name__}: {warning.message}" for warning in caught}),
    }


def describe_hardware():
    """The processor and how much of it scikit-learn may use.

    Returns:
      A dictionary that JSON can hold.
    """
    import sklearn.cluster  # noqa: F401 (loads the libraries whose threads are counted)
    from threadpoolctl import threadpool_info

    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": max(pool["num_threads"] for pool in threadpool_info()),
    }


def read_records(path):
    """Records that have been written before.

    Args:
      path: `pathlib.Path` of the file.

    Returns:
      A list; empty if there is no file.

    Raises:
      ReproduceError: if it is damaged.
    """
    if not path.exists():
        return []
    try:
        records = json.loads(path.read_text())
        complete = isinstance(records, list) and all(record.keys() >= REQUIRED for record in records)
    except (OSError, ValueError, AttributeError) as error:
        raise ReproduceError(f"{path} cannot be read ({error}). Move it away.") from error
    if not complete:
        raise ReproduceError(f"{path} does not hold records of baselines. Move it away.")
    return records


def markdown_table(records):
    """Mean ± sample standard deviation over seeds.

    Args:
      records: of one data set.

    Returns:
      Lines of Markdown.
    """
    lines = [
        f"| method | images | seeds | {' | '.join(SCORES.values())} | processor s |",
        "|---" * (len(SCORES) + 4) + "|",
    ]
    for name, method in METHODS.items():
        found = [record for record in records if record["method"] == name]
        if found:
            members = [{**record["scores"], "work": record["processor_seconds"]} for record in found]
            cells = [_cell(members, score, ".3f") for score in SCORES] + [_cell(members, "work", ".1f")]
            lines.append(f"| {method.title} | {found[0]['count']} | {len(found)} | {' | '.join(cells)} |")
    return lines


def _cell(members, name, digits):
    if len(members) == 1:
        return f"{members[0][name]:{digits}}"
    table = over_seeds(members)
    return f"{table['mean'][name]:{digits}} ± {table['sd'][name]:{digits}}"


def _key(record):
    return tuple(record[name] for name in KEY)


def run(dataset, path, seeds, *, force=False, report=print):
    """Fits all methods that have not been fitted, and writes each result at once.

    Args:
      dataset: the `Dataset`, with labels.
      path: `pathlib.Path` of the file of results.
      seeds: integers.
      force: whether to fit again what is there.
      report: called with a line for every fit.

    Returns:
      The records of this data.

    Raises:
      ReproduceError: if there are no labels, or the file is damaged.
    """
    if dataset.labels is None:
        raise ReproduceError(f"{dataset.name!r} has no labels, so there is nothing to score clusters against.")
    facts, records = dataset.facts(), read_records(path)
    data = {name: facts[name] for name in DATA}
    context = {
        "data": data,
        "hardware": describe_hardware(),
        "versions": {name: importlib.metadata.version(name) for name in ("scikit-learn", "numpy", "scipy")},
        "date": datetime.date.today().isoformat(),
    }
    images, num_clusters = np.asarray(dataset.images), len(np.unique(dataset.labels))
    finished = set() if force else {_key(record) for record in records if record["data"] == data}
    for name, seed in itertools.product(METHODS, seeds):
        if (name, seed) in finished:
            continue
        record = measure(name, images, dataset.labels, num_clusters, seed) | context
        records = [old for old in records if _key(old) != (name, seed)] + [record]
        write_json(path, records)
        accuracy = record["scores"]["accuracy_many_to_one"]
        report(f"{dataset.name}, {record['title']}, seed {seed}: {accuracy:.4f}, {record['seconds']:.1f} s")
    return [record for record in records if record["data"] == data]


def load(name, resolution, data_dir):
    """The images of an experiment.

    Args:
      name: as `config.data.name`.
      resolution: pixels of the side; None is that of the experiment.
      data_dir: of prepared TensorFlow Datasets, or "".

    Returns:
      A `Dataset`.
    """
    config = default_config()
    config.data.update({"name": name, "dir": data_dir})
    config.data.resolution = resolution or RESOLUTIONS.get(name, config.data.resolution)
    validate(config)
    return load_dataset(config)


def main(arguments=None):
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default="digits", help="names of data sets, with commas between")
    parser.add_argument("--resolution", type=int, help="pixels of the side; that of the experiment otherwise")
    parser.add_argument("--seeds", type=int, default=5, help="how many: 0, 1, ...")
    parser.add_argument("--data_dir", default="", help="where TFDS data is")
    parser.add_argument("--out", default="results")
    parser.add_argument("--force", action="store_true", help="fit again what is there")
    given = parser.parse_args(arguments)
    logging.set_verbosity(logging.ERROR)  # TFDS recommends OpenCV, though Pillow decodes the same pixels
    try:
        if given.seeds < 1:
            raise ReproduceError(f"--seeds is {given.seeds}; allowed: 1 or more.")
        datasets = [load(name, given.resolution, given.data_dir) for name in given.datasets.split(",")]
        for dataset in datasets:
            size = dataset.images.shape[1]
            path = pathlib.Path(given.out) / "baselines" / f"{file_name(f'{dataset.name}_{size}')}.json"
            records = run(dataset, check_output(path, is_file=True), range(given.seeds), force=given.force)
            print("", f"{dataset.name}, {len(dataset.images)} images of {size} x {size} pixels", "", sep="\n")
            print(*markdown_table(records), "", sep="\n")
    except (ConfigError, DataError, ReproduceError, WorkdirError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
