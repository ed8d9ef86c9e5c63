"""What a run starts from, and that a first state is only compiled for a run that needs one."""

import contextlib
import types

import jax
import numpy as np
import pytest

from mpcc_jax.errors import CheckpointError
from mpcc_jax.training import start
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.start import first_state, prepare_start
from mpcc_jax.training.state import init_state, split_seed
from tests.conftest import layout_of, tiny_config


@contextlib.contextmanager
def run_in(directory, algorithm):
    """Stands for an `experiment.Run`."""
    checkpoints, warnings = Checkpoints(directory), []
    display = types.SimpleNamespace(warn=warnings.append)
    fields = {"config": tiny_config(), "keys": [split_seed(5)], "layout": layout_of(), "algorithm": algorithm}
    yield types.SimpleNamespace(**fields, checkpoints=checkpoints, display=display)
    checkpoints.close()
    assert warnings == []


def test_a_new_run_starts_from_its_seed(tmp_path, algorithm):
    with run_in(tmp_path, algorithm) as run:
        prepared = prepare_start(run)
        state, iteration, origin = first_state(run, prepared)
    assert (prepared.iteration, iteration, origin) == (0, 0, None)
    expected = init_state(algorithm, prepared.key, layout_of())
    jax.tree.map(np.testing.assert_array_equal, state, expected)


def test_a_run_with_a_checkpoint_goes_on_from_it(tmp_path, algorithm, state):
    with run_in(tmp_path, algorithm) as run:
        run.checkpoints.save(run.layout.place_tree(state), 3, {})
    with run_in(tmp_path, algorithm) as run:
        prepared = prepare_start(run, tmp_path / "is not looked at")
        restored, iteration, origin = first_state(run, prepared)
    assert (prepared.iteration, prepared.making, iteration, origin) == (3, None, 3, None)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_what_cannot_be_read_is_refused_before_anything_compiles(tmp_path, algorithm, monkeypatch):
    monkeypatch.setattr(start, "compile_first_state", lambda *_: pytest.fail("compiled"))
    with run_in(tmp_path / "run", algorithm) as run, pytest.raises(CheckpointError, match="no checkpoint of a run"):
        prepare_start(run, tmp_path / "nothing")
