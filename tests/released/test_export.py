"""Our runs as the authors' files and back: every name that their classes hold, and every bit."""

import functools
import sys

import jax
import numpy as np
import pytest

from mpcc_jax.errors import ConfigError, WeightsError, WorkdirError
from mpcc_jax.released.convert import released_shapes
from mpcc_jax.released.files import read_released, write_released
from mpcc_jax.released.runs import export_released, import_released
from mpcc_jax.tensor_files import read_tensors, write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.state import assemble_state, build_algorithm
from tests import golden_data
from tests.conftest import random_variables, tiny_config
from tests.trained import make_run, tiny_state

NETWORKS = {
    name: array for name, array in golden_data.load("golden_cbn.npz")[0].items() if name[:2] in ("G.", "D.", "E.", "P.")
}
silent = functools.partial(list.append, [])


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pth"])
def test_their_files_come_back_to_the_bit(tmp_path, ending):
    """The golden state dicts hold all that their classes save, D.embed and P.phi_c included, which compute nothing."""
    if ending == "pth":
        pytest.importorskip("torch")
    average = {"G_ema" + name[1:]: array * 2 for name, array in NETWORKS.items() if name.startswith("G.")}
    (tmp_path / "in").mkdir()
    write_released(tmp_path / "in", {**NETWORKS, **average}, ".npz")
    import_released(tmp_path / "in", tmp_path / "run", report=silent)
    export_released(tmp_path / "run", tmp_path / "out", ending, report=silent)
    exported = read_released(tmp_path / "out").tensors
    assert exported.keys() == {*NETWORKS, *average}
    for name, array in {**NETWORKS, **average}.items():
        assert exported[name].tobytes() == array.tobytes(), name
        assert (exported[name].shape, exported[name].dtype) == (array.shape, array.dtype)


def tiny_run(folder, conditioning, share_blocks, seeds=1):
    """A run of the released variant, its moving average apart from its generator."""
    config = tiny_config()
    config.variant, config.num_seeds = "released", seeds
    config.model.update({"conditioning": conditioning, "share_blocks": share_blocks})
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    state = state.replace(ema=jax.tree.map(lambda x: x + 1, state.ema))
    if seeds > 1:
        state = jax.tree.map(lambda x: np.stack([x + seed for seed in range(seeds)]), state)
    return make_run(folder, config, {6: state})


@pytest.mark.parametrize(("conditioning", "share_blocks"), [("split", True), ("shared", False), ("conditional", True)])
def test_our_runs_come_back_to_the_bit(tmp_path, conditioning, share_blocks):
    run, lines = tiny_run(tmp_path / "run", conditioning, share_blocks), []
    export_released(run, tmp_path / "out", report=lines.append)
    assert lines == [f"iteration 6 of {run} as G.npz, D.npz, E.npz, Prior.npz, G_ema.npz: {tmp_path / 'out'}"]
    import_released(tmp_path / "out", tmp_path / "back", data_name="digits", iteration=6, report=silent)
    before, after = load(run), load(tmp_path / "back")
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), before.weights, after.weights)
    assert before.config.model.to_dict() == after.config.model.to_dict()
    assert after.iteration == 6


def test_every_name_of_their_classes_is_there(tmp_path):
    golden = golden_data.released_algorithm(golden_data.load("golden_cbn.npz")[1]).model
    assert released_shapes(golden) == {name: array.shape for name, array in NETWORKS.items()}
    run = tiny_run(tmp_path / "run", "conditional", True)
    export_released(run, tmp_path / "out", report=silent)
    ours = read_released(tmp_path / "out").tensors
    shapes = released_shapes(load(run).model)
    average = {"G_ema" + name[1:]: shape for name, shape in shapes.items() if name.startswith("G.")}
    assert {name: array.shape for name, array in ours.items()} == {**shapes, **average}
    np.testing.assert_array_equal(ours["P.phi_c"], np.full(3, 1 / 3, np.float32))
    for name in [name for name in ours if name.startswith("E.blocks.")]:
        np.testing.assert_array_equal(ours[name], ours["D" + name[1:]])


def test_one_seed_and_one_checkpoint_of_a_run(tmp_path):
    run = tiny_run(tmp_path / "run", "conditional", True, seeds=2)
    for seed in (0, 1):
        export_released(run, tmp_path / f"{seed}", report=silent, seed=seed, iteration=6)
    first, second = (read_tensors(tmp_path / f"{seed}" / "Prior.npz")["mu_c"] for seed in (0, 1))
    np.testing.assert_array_equal(second, first + 1)
    with pytest.raises(ConfigError, match="seed is None"):
        export_released(run, tmp_path / "none")


def test_what_the_authors_code_cannot_hold_is_refused(tmp_path):
    config = tiny_config()
    config.prior.kind, config.model.num_clusters = "standard_normal", 1
    algorithm = build_algorithm(config, 1)
    run = make_run(tmp_path / "run", config, {2: assemble_state(algorithm, *random_variables(algorithm.model))})
    with pytest.raises(ConfigError, match=r"config\.prior\.kind 'standard_normal'; allowed: 'gaussian_mixture'"):
        export_released(run, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_weights_of_the_papers_variant_are_exported_with_a_word(tmp_path):
    run, lines = make_run(tmp_path / "run", states={4: tiny_state()}), []
    with pytest.raises(WorkdirError, match=r"--out is .* which is not empty"):
        export_released(run, tmp_path)
    export_released(run, tmp_path / "out", report=lines.append)
    assert "config.variant 'paper'" in lines[0]


def test_torch_is_asked_for_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WeightsError, match="--format=pth needs PyTorch"):
        export_released(tmp_path / "none", tmp_path / "out", "pth")


def test_a_damaged_file_of_the_run_is_named(tmp_path):
    write_tensors(tmp_path / "golden.npz", NETWORKS)
    import_released(tmp_path / "golden.npz", tmp_path / "run", report=silent)
    (tmp_path / "run" / "released_unused.npz").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"released_unused\.npz is damaged"):
        export_released(tmp_path / "run", tmp_path / "out", report=silent)
