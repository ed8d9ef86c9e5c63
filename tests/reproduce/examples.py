"""A table of tiny experiments, and records as finished runs leave them."""

import numpy as np

from mpcc_jax.workdir import settings_of, write_json
from reproduce.catalogue import Published, Row, Table
from reproduce.plan import Options, configure
from reproduce.records import FINISHED, record_path

# As many as in tests/test_experiment.py, so that both have the same programs.
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)
CONFIG = """
from tests.conftest import tiny_config


def get_config():
    config = tiny_config()
    config.data.update({"name": "npz:%s", "cache": False})
    config.checkpoints.every = 2
    config.evaluation.samples_per_cluster = 2
    config.logging.tensorboard = False
    return config
"""


def make_row(folder, name="small", **published):
    """Writes a configuration and its images, and returns the row that is made of them."""
    images = folder / "images.npz"
    np.savez(images, images=IMAGES, labels=np.arange(len(IMAGES)) % 3)
    path = folder / f"{name}.py"
    path.write_text(CONFIG % images)
    published = published or {"accuracy": Published(90.0, 1.0), "best_three": Published(92.0, 0.5)}
    return Row(name, name.title(), path, published, 4)


def make_table(*rows, name="table4", measures=("accuracy", "best_three"), **fields):
    return Table(name, "Table of tiny runs", measures, rows, **fields)


def make_options(folder, **fields):
    return Options(**{"scale": "paper", "runs": folder / "runs", "out": folder / "out", **fields})


def make_record(row, arm, seed, options, accuracy, **fields):
    """A record as a finished run writes it."""
    scores = {"accuracy_many_to_one": accuracy, "accuracy_one_to_one": accuracy / 2, "nmi": 0.5, "ari": 0.25}
    return {
        "status": FINISHED,
        "scale": options.scale,
        "row": row.name,
        "arm": arm,
        "seed": seed,
        "variant": arm.split("+")[0],
        "precision": "float32",
        "workdir": "somewhere",
        "settings": settings_of(configure(row, arm, options, (seed,))),
        "iterations": 4,
        "data": {"name": "small", "version": "", "split": "", "count": 20, "shape": [8, 8, 1]},
        "evaluated_images": 20,
        "scores": {**scores, "reconstruction_mse": 0.01, "cluster_sizes": [10, 10, 0]},
        "generation": None,
        "hardware": ["2 cores of a test"],
        "commit": ["abcdef0"],
        "versions": {"jax": "0.10.2"},
        "seconds": 1800.0,
        "resumed": False,
        "seeds_at_once": 1,
        "date": "2026-11-23",
        **fields,
    }


def write_record(record, options):
    options.records.mkdir(parents=True, exist_ok=True)
    path = record_path(options.records, *(record[name] for name in ("scale", "row", "arm", "seed")))
    write_json(path, record)
    return path


def write_records(row, arm, options, accuracies):
    """One per accuracy, of seeds 0, 1, ..."""
    for seed, accuracy in enumerate(accuracies):
        write_record(make_record(row, arm, seed, options, accuracy), options)
