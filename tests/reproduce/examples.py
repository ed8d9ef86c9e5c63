"""A row of tiny runs, and records as finished runs leave them."""

import json

import numpy as np

from mpcc_jax.config import settings_of
from mpcc_jax.workdir import write_json
from reproduce.runs import FINISHED, Run
from reproduce.tables import Row, Table
from tests.conftest import ROOT, tiny_config

# As many as in the tests of training, so that both have the same programs.
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8)


def make_row(folder, name="small", **published):
    """Writes the images of a row and returns it."""
    np.savez(folder / "images.npz", images=IMAGES, labels=np.arange(len(IMAGES)) % 3)

    def get_config():
        config = tiny_config()
        config.data.update({"name": f"npz:{folder / 'images.npz'}", "cache": False})
        config.checkpoints.every = 2
        config.evaluation.samples_per_cluster = 2
        config.logging.tensorboard = False
        return config

    return Row(name, name.title(), get_config, published or {"accuracy": (90.0, 1.0), "best_three": (92.0, 0.5)})


def make_table(*rows, name="table4", measures=("accuracy", "best_three"), **fields):
    return Table(name, "Table of tiny runs", measures, rows, **fields)


def write_record(run, accuracy, **fields):
    """Writes the record of a run as if it were finished; what is not said is that of a stored record."""
    scores = {"accuracy_many_to_one": accuracy, "accuracy_one_to_one": accuracy / 2, "nmi": 0.5, "ari": 0.25}
    place = {"scale": run.options.scale, "row": run.row.name, "arm": run.arm, "seed": run.seed, "iterations": 4}
    record = {
        **json.loads((ROOT / "results" / "runs" / "cpu_digits_paper_seed0.json").read_text()),
        **place,
        "status": FINISHED,
        "settings": settings_of(run.config),
        "scores": {**scores, "reconstruction_mse": 0.01, "cluster_sizes": [10, 10, 0]},
        "versions": {"jax": "0.10.2"},
        "hardware": ["a CPU"],
        "commit": ["abc1234"],
        "date": "2026-01-02",
        "seconds": 1800.0,
        **fields,
    }
    run.record_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(run.record_path, record)
    return record


def write_records(row, arm, options, accuracies, **fields):
    """Writes a record for each accuracy, of seeds 0, 1, ..."""
    return [write_record(Run(row, arm, seed, options), value, **fields) for seed, value in enumerate(accuracies)]
