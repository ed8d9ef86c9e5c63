"""A working directory as training leaves it, made without training."""

import functools

import numpy as np

from mpcc_jax.config import settings_of
from mpcc_jax.data import from_arrays
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.state import assemble_state
from mpcc_jax.workdir import write_facts
from tests.conftest import SMALL_IMAGES, random_variables, tiny_algorithm, tiny_config

LABELS = np.arange(len(SMALL_IMAGES)) % 2


def trained_config():
    config = tiny_config()
    config.data.name = "npz:images.npz"
    config.evaluation.standing_passes = 2
    return config


@functools.cache
def tiny_state():
    return assemble_state(tiny_algorithm(), *random_variables(tiny_algorithm().model))


def tiny_trained(**options):
    return TrainedModel(trained_config(), tiny_algorithm().model, tiny_state(), **{"batch_size": 8, **options})


def tiny_dataset(labels=LABELS):
    return from_arrays(SMALL_IMAGES, labels, name="small", class_names=None if labels is None else ("even", "odd"))


def make_run(folder, config=None, states=None):
    """Writes a run of untrained weights, states by iteration, and the images that it would have been trained on."""
    folder.mkdir()
    config = config or trained_config()
    np.savez(folder / "images.npz", images=SMALL_IMAGES, labels=np.asarray(["even", "odd"])[LABELS])
    config.data.update({"name": f"npz:{folder / 'images.npz'}", "cache": False})
    write_facts(folder, settings_of(config), {**tiny_dataset().facts(), "name": "npz:images"})
    checkpoints = Checkpoints(folder / "checkpoints")
    for iteration, state in (states or {4: tiny_state()}).items():
        checkpoints.save(state, iteration, {})
    checkpoints.close()
    return folder
