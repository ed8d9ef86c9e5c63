"""A run that goes on from exported files is, bit for bit, the run that was not exported."""

import json

import jax
import numpy as np
import pytest

from mpcc_jax.config import ConfigError
from mpcc_jax.experiment import train
from mpcc_jax.released import to_complete_released
from mpcc_jax.released_import import import_released
from mpcc_jax.state_files import StateFilesError, read_state
from mpcc_jax.state_transfer import continue_from, export_state
from mpcc_jax.tensor_files import write_tensors
from mpcc_jax.training.checkpoints import CheckpointError
from mpcc_jax.training.state import abstract_state, assemble_state, build_algorithm
from mpcc_jax.workdir import WorkdirError, read_run
from tests.conftest import layout_of, random_variables, tiny_algorithm, tiny_config
from tests.test_experiment import quiet
from tests.trained import make_run, tiny_dataset, tiny_state


def imported_run(folder):
    """Random weights of the authors' form as a run, and a configuration to train them further."""
    config = tiny_config()
    config.variant, config.checkpoints.every = "released", 2
    config.evaluation.update({"samples_per_cluster": 2, "standing_passes": 2})
    algorithm = build_algorithm(config, 1)
    params, buffers = random_variables(algorithm.model)
    folder.mkdir()
    write_tensors(folder / "all.npz", to_complete_released(algorithm.model, params, buffers))
    return import_released(folder, folder / "run", config, report=[].append), config, params


def test_export_and_continue_is_continue(tmp_path):
    """Four iterations from imported weights; the second of them is exported and continued for two in another run."""
    run, config, imported = imported_run(tmp_path / "released")
    _, whole, results = train(config, run, quiet(), tiny_dataset())
    assert (int(whole.iteration), results["resumed_at"]) == (4, 0)
    # A few steps of Adam away from what was imported.
    moved = jax.tree.map(lambda new, old: np.abs(np.asarray(new) - old).max(), whole.params, imported)
    assert 0 < min(jax.tree.leaves(moved)) <= max(jax.tree.leaves(moved)) < 0.03
    assert read_run(run)[1]["count"] == 20

    export_state(run, tmp_path / "state", iteration=2, report=[].append)
    display = quiet()
    _, continued, results = train(config, tmp_path / "other", display, tiny_dataset(), init_from=tmp_path / "state")
    assert (int(continued.iteration), results["resumed_at"]) == (4, 2)
    assert jax.tree.structure(continued) == jax.tree.structure(whole)
    jax.tree.map(np.testing.assert_array_equal, continued, whole)
    printed = display.console.file.getvalue()
    assert "after 2 iterations" in printed
    assert "another configuration" not in printed
    lines = [json.loads(line) for line in (tmp_path / "other" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "generator_loss" in line] == [4]

    # A run with a checkpoint of its own goes on from that, whatever is in the folder now.
    (tmp_path / "state" / "state.json").write_text("damaged")
    _, again, results = train(config, tmp_path / "other", quiet(), tiny_dataset(), init_from=tmp_path / "state")
    assert results["resumed_at"] == 4
    jax.tree.map(np.testing.assert_array_equal, again, whole)


def several_seeds():
    return jax.tree.map(lambda x: np.stack([x, x + 1]), tiny_state().replace(iteration=np.int32(4)))


def continued(folder, config=None, **layout):
    layout, warnings = layout_of(**layout), []
    config = config or tiny_config()
    config.training.iterations = 9
    state, iteration = continue_from(
        read_state(folder), folder, config, abstract_state(tiny_algorithm(), layout), layout, warnings.append
    )
    return state, iteration, warnings


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_several_seeds_travel_together_onto_other_devices(tmp_path, dtype):
    config = tiny_config()
    config.num_seeds = 2
    lines, expected = [], several_seeds()
    make_run(tmp_path / "run", config, {4: expected.replace(iteration=np.asarray([4, 4], np.int32))})
    export_state(tmp_path / "run", tmp_path / "out", dtype, report=lines.append)
    assert lines == [lines[0]]
    assert f"MiB, {dtype}: {tmp_path / 'out'}" in lines[0]
    state, iteration, warnings = continued(tmp_path / "out", config, num_seeds=2, devices=2)
    assert (iteration, state.iteration.tolist()) == (4, [4, 4])
    assert all(leaf.sharding.num_devices == 2 for leaf in jax.tree.leaves(state))
    precision = 0 if dtype == "float32" else 2**-8
    jax.tree.map(
        lambda new, old: np.testing.assert_allclose(new, old, rtol=precision), state.params, several_seeds().params
    )
    assert [warning for warning in warnings if "config.training.iterations was 4 and is 9" in warning] == warnings
    with pytest.raises(
        StateFilesError, match=r"another number of seeds: iteration is \(2,\) there and \(\) in this run"
    ):
        continued(tmp_path / "out")


def test_the_index_says_what_it_is(tmp_path):
    make_run(tmp_path / "run", states={4: tiny_state().replace(iteration=np.int32(4))})
    export_state(tmp_path / "run", tmp_path / "out", report=[].append)
    index = json.loads((tmp_path / "out" / "state.json").read_text())
    assert (index["iteration"], index["dtype"], index["data"]["count"]) == (4, "float32", 20)
    assert index["config"] == json.loads((tmp_path / "run" / "config.json").read_text())
    assert "jax" in index["versions"]
    assert read_state(tmp_path / "out").iteration == 4


def test_another_configuration_is_told_another_model_refused(tmp_path):
    make_run(tmp_path / "run", states={4: tiny_state().replace(iteration=np.int32(4))})
    export_state(tmp_path / "run", tmp_path / "out", report=[].append)
    config = tiny_config()
    config.seed = 5
    (warning,) = continued(tmp_path / "out", config)[2]
    assert "config.seed was 0 and is 5" in warning
    config.model.latent_dim, layout = 12, layout_of()
    abstract = abstract_state(build_algorithm(config, 1), layout)
    with pytest.raises(StateFilesError, match=r"--init_from: .* is of another model.*: \S+ is \(8,\) there and \(12"):
        continue_from(read_state(tmp_path / "out"), tmp_path / "out", config, abstract, layout, [].append)
    config.training.iterations = 4
    with pytest.raises(ConfigError, match=r"config\.training\.iterations is 4; allowed: above 4, the iterations that"):
        continue_from(read_state(tmp_path / "out"), tmp_path / "out", config, abstract, layout, [].append)


def test_what_cannot_be_exported_is_refused(tmp_path):
    state = assemble_state(tiny_algorithm(), tiny_state().params, tiny_state().buffers)
    run = make_run(tmp_path / "run", states={2: state, 4: state})
    for arguments, error, message in (
        (("out", "float16"), ConfigError, "--dtype is 'float16'; allowed: float32, bfloat16"),
        (("out", "float32", 3), CheckpointError, r"no checkpoint of iteration 3; there are \[2, 4\]"),
        (("",), WorkdirError, "which is not empty"),
    ):
        with pytest.raises(error, match=message):
            export_state(run, tmp_path / arguments[0], *arguments[1:])
    assert not (tmp_path / "out").exists()
    for path in (run / "checkpoints" / "4" / "state").rglob("*"):
        if path.is_file():
            path.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"the checkpoint .*checkpoints/4 cannot be read"):
        export_state(run, tmp_path / "out")
    export_state(run, tmp_path / "out", iteration=2, report=[].append)
