"""Checkpoints: bitwise, complete or absent, the newest readable one, and never of a state that is not finite."""

import contextlib
import errno
import resource
import shutil
import subprocess
import sys
import textwrap
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.errors import CheckpointError
from mpcc_jax.training.checkpoints import Checkpoints, find_checkpoints, read_weights, with_weights
from mpcc_jax.training.state import abstract_state
from tests.conftest import ROOT, layout_of


def make_state(iteration):
    rng = np.random.default_rng(iteration)
    return {"weights": jnp.asarray(rng.normal(size=(20, 30)), jnp.float32), "iteration": jnp.int32(iteration)}


def abstract(state):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)


def save(directory, *iterations, **options):
    checkpoints = Checkpoints(directory, **options)
    for iteration in iterations:
        checkpoints.save(make_state(iteration), iteration, {"seed": 1})
    checkpoints.close()


def restore(directory):
    warnings = []
    checkpoints = Checkpoints(directory)
    restored = checkpoints.restore(abstract(make_state(0)), warnings.append)
    found = checkpoints.iterations
    checkpoints.close()
    return restored, warnings, found


def test_the_newest_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 10, 20)
    (state, iteration), warnings, _ = restore(tmp_path)
    assert (iteration, warnings) == (20, [])
    jax.tree.map(np.testing.assert_array_equal, state, make_state(20))
    assert state["weights"].dtype == np.float32


NAMES = (
    "my run [1]",
    "a*b?c",
    "{x}",
    "p#q%20&r:s",
    "bad\udcff",
    "\N{CAT} \N{CYRILLIC SMALL LETTER ZHE}",
    "a\nb",
    " a ",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_directory_may_have_any_name(name, tmp_path):
    save(tmp_path / name / "checkpoints", 10)
    assert [path.name for path in (tmp_path / name / "checkpoints").iterdir()] == ["10"]
    (state, iteration), warnings, _ = restore(tmp_path / name / "checkpoints")
    assert (iteration, warnings) == (10, [])
    jax.tree.map(np.testing.assert_array_equal, state, make_state(10))
    assert list(find_checkpoints(tmp_path / name)) == [10]


def test_no_checkpoint(tmp_path):
    assert restore(tmp_path) == (None, [], [])


def test_the_last_ones_and_every_so_many_th_are_kept(tmp_path):
    save(tmp_path, *range(10, 110, 10), keep_last=2, keep_every=40)
    assert restore(tmp_path)[2] == [40, 80, 90, 100]


def test_the_state_may_be_reused_while_it_is_written(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state, reuse = make_state(1), jax.jit(lambda state: jax.tree.map(lambda x: x * 0, state), donate_argnums=0)
    for iteration in range(1, 6):
        checkpoints.save(state, iteration, {})
        reuse(state)
        state = make_state(iteration + 1)
    checkpoints.close()
    (state, _), _, _ = restore(tmp_path)
    jax.tree.map(np.testing.assert_array_equal, state, make_state(5))


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_damaged_checkpoint_gives_way_to_the_one_before_and_is_kept(tmp_path):
    folder = tmp_path / "checkpoints"
    save(folder, 10, 20, 30)
    shutil.rmtree(folder / "30" / "state")
    for file in (folder / "20" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    damaged = files_of(folder / "20")
    (state, iteration), warnings, found = restore(folder)
    assert (iteration, found) == (10, [10])
    jax.tree.map(np.testing.assert_array_equal, state, make_state(10))
    assert [text.split(" (")[0] for text in warnings if "cannot be read" in text] == [
        "the checkpoint of iteration 30 cannot be read",
        "the checkpoint of iteration 20 cannot be read",
    ]
    assert files_of(tmp_path / "checkpoints_unreadable" / "20") == damaged
    save(folder, 20)
    assert restore(folder)[0][1] == 20


def test_only_damaged_checkpoints_are_an_error_and_stay(tmp_path):
    save(tmp_path, 10)
    shutil.rmtree(tmp_path / "10" / "state")
    with pytest.raises(
        CheckpointError, match=r"none of the checkpoints \[10\] in .* can be read\. Nothing was changed"
    ):
        restore(tmp_path)
    assert (tmp_path / "10").exists()


@pytest.mark.parametrize("error", [MemoryError("no memory"), PermissionError(13, "denied"), OSError(5, "I/O error")])
def test_what_is_not_damage_stops_and_changes_nothing(tmp_path, monkeypatch, error):
    save(tmp_path, 10, 20)
    before = files_of(tmp_path)

    def fail(*_):
        raise error

    monkeypatch.setattr(Checkpoints, "_read", fail)
    with pytest.raises(CheckpointError, match=r"iteration 20 in .* could not be read now .* Nothing was changed"):
        restore(tmp_path)
    assert files_of(tmp_path) == before


def test_another_model_is_refused_and_nothing_is_moved(tmp_path):
    save(tmp_path, 10, 20)
    checkpoints = Checkpoints(tmp_path)
    other = abstract({**make_state(0), "weights": jnp.zeros((20, 31))})
    message = r"iteration 20 in .* is of another model: weights is \(20, 30\) there and \(20, 31\) in this one"
    with pytest.raises(CheckpointError, match=message):
        checkpoints.restore(other, pytest.fail)
    assert checkpoints.iterations == [10, 20]
    checkpoints.close()


def test_a_state_that_is_not_finite_is_not_saved(tmp_path):
    save(tmp_path, 10)
    checkpoints = Checkpoints(tmp_path)
    state = make_state(20)
    state["weights"] = state["weights"].at[3, 4].set(jnp.nan)
    with pytest.raises(CheckpointError, match=r"after iteration 20 is not finite.* complete: \[10\]"):
        checkpoints.save(state, 20, {})
    checkpoints.close()
    assert restore(tmp_path)[0][1] == 10


def test_a_checkpoint_that_is_being_written_is_not_called_complete(tmp_path, monkeypatch):
    save(tmp_path, 10)
    checkpoints = Checkpoints(tmp_path)
    manager = checkpoints._manager
    monkeypatch.setattr(manager, "all_steps", lambda: [10, 20])
    monkeypatch.setattr(manager, "save", mock.Mock(side_effect=OSError("gone")))
    with pytest.raises(CheckpointError, match=r"could not be written.* complete: \[10\] in"):
        checkpoints.save(make_state(30), 30, {})
    checkpoints.close()


def test_what_a_killed_process_left_is_not_a_checkpoint(tmp_path):
    save(tmp_path, 10)
    left = tmp_path / "20.orbax-checkpoint-tmp"
    shutil.copytree(tmp_path / "10", left)
    reader = Checkpoints(tmp_path, read_only=True)
    assert reader.restore(abstract(make_state(0)), pytest.fail)[1] == 10
    reader.close()
    assert left.exists(), "it may be of a run that is still going on"
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(abstract(make_state(0)), pytest.fail)[1] == 10
    # Orbax removes it in a thread, and waits for that when it saves.
    checkpoints.save(make_state(30), 30, {"seed": 1})
    checkpoints.close()
    assert not left.exists()
    assert restore(tmp_path)[2] == [10, 30]


def test_a_full_disk_stops_with_a_message_and_leaves_the_earlier_ones(tmp_path):
    """A limit on the size of files stands for the full disk: both end in a write that fails."""
    script = """
        import pathlib, resource, sys
        import jax.numpy as jnp
        from mpcc_jax.errors import CheckpointError
        from mpcc_jax.training.checkpoints import Checkpoints
        checkpoints = Checkpoints(pathlib.Path(sys.argv[1]))
        checkpoints.save({"weights": jnp.arange(100.0)}, 10, {})
        checkpoints._manager.wait_until_finished()
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            import jax
            checkpoints.save({"weights": jax.random.normal(jax.random.key(0), (1000, 1000))}, 20, {})
            checkpoints.close()
        except CheckpointError as error:
            print("error:", error)
    """
    assert resource.RLIMIT_FSIZE is not None
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert "error: a checkpoint could not be written in" in run.stdout, run.stderr
    assert "complete: [10]" in run.stdout
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.iterations == [10]


def test_the_best_is_kept_beside_the_newest(tmp_path):
    def open_again():
        return Checkpoints(tmp_path, keep_last=2, keep_best=True)

    checkpoints = open_again()
    for iteration, score in ((10, 0.1), (20, 0.7), (30, None), (40, 0.3), (50, None)):
        checkpoints.save(make_state(iteration), iteration, {}, score)
    checkpoints.close()
    assert (open_again().iterations, open_again().best) == ([20, 40, 50], 20)
    checkpoints = open_again()
    checkpoints.save(make_state(60), 60, {}, 0.9)
    checkpoints.close()
    assert (open_again().iterations, open_again().best) == ([50, 60], 60)
    assert Checkpoints(tmp_path).best is None


def test_weights_of_another_run(tmp_path, algorithm, state):
    trained = state.replace(
        params=jax.tree.map(lambda x: x + 1, state.params),
        optimizers=jax.tree.map(lambda x: x + 2, state.optimizers),
        iteration=jnp.int32(20),
    )
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    checkpoints.save(state, 10, {})
    checkpoints.save(trained, 20, {})
    checkpoints.close()
    layout, several = layout_of(), layout_of(num_seeds=2)
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints", tmp_path / "run" / "checkpoints" / "20"):
        weights, origin = read_weights(path)
        assert origin.name == "20"
    started = with_weights(layout.place_tree(state), weights, layout, origin)
    jax.tree.map(np.testing.assert_array_equal, started.params, trained.params)
    jax.tree.map(np.testing.assert_array_equal, started.optimizers, state.optimizers)
    assert int(started.iteration) == 0
    stacked = several.place_tree(jax.tree.map(lambda x: jnp.stack([x, x]), state))
    both = with_weights(stacked, weights, several, origin)
    jax.tree.map(lambda two, one: np.testing.assert_array_equal(two[1], one), both.params, trained.params)
    assert read_weights(tmp_path / "run" / "checkpoints" / "10")[1].name == "10"

    with pytest.raises(CheckpointError, match=r"another model: buffers/.* is \(\) there and \(2,\) in this one"):
        with_weights(stacked, weights, layout, origin)
    del weights["params"]["prior"]["mean"]
    with pytest.raises(CheckpointError, match=r"params/prior/mean is nothing there and \(3, 8\) in this one"):
        with_weights(state, weights, layout, origin)
    with pytest.raises(CheckpointError, match="no checkpoint of a run is there"):
        read_weights(tmp_path)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20" / "state" / "d")
    with pytest.raises(CheckpointError, match=r"--init_from: .*20 cannot be read"):
        read_weights(tmp_path / "run")


def test_the_abstract_state_is_the_state(algorithm, state):
    abstract = abstract_state(algorithm, layout_of())
    assert jax.tree.structure(abstract) == jax.tree.structure(state)
    for one, other in zip(jax.tree.leaves(abstract), jax.tree.leaves(state), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_the_error_of_the_disk_is_told_and_not_what_followed_it(tmp_path, monkeypatch):
    def fill(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    def stop():
        raise RuntimeError("Event loop is closed")

    checkpoints = Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoints._manager, "save", fill)
    monkeypatch.setattr(checkpoints._manager, "wait_until_finished", stop)
    with pytest.raises(CheckpointError, match="No space left on device"), contextlib.closing(checkpoints):
        checkpoints.save({"w": jnp.ones(2)}, 1, {})
