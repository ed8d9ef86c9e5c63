"""A whole run in this process: pictures without labels, streamed; arrays from Python; several seeds."""

import dataclasses
import io
import json

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mpcc_jax.cli.commands import _read_members
from mpcc_jax.config import settings_of
from mpcc_jax.data import from_arrays
from mpcc_jax.errors import CheckpointError, ConfigError, DataError, WorkdirError
from mpcc_jax.printing import Display
from mpcc_jax.trained_model import load
from mpcc_jax.training import train as train_module
from mpcc_jax.training.export import export_model, export_seed
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.train import estimate, prepare, train
from mpcc_jax.workdir import LOCK, WARM_LABELS, lock_workdir, write_facts
from tests.conftest import SMALL_IMAGES, tiny_config
from tests.trained import make_run, tiny_dataset, tiny_state, trained_config

RNG = np.random.default_rng(0)


def quiet():
    return Display(Console(file=io.StringIO(), width=200))


def printed(display):
    return display.console.file.getvalue()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(20):
        Image.fromarray(RNG.integers(0, 256, (8, 12)).astype(np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


def contents(workdir):
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != LOCK}


def test_pictures_without_labels_streamed_and_trained_further(folder, tmp_path):
    config, workdir = tiny_config(), tmp_path / "run"
    config.data.update({"name": f"folder:{folder}", "cache_dir": str(tmp_path / "cache"), "placement": "stream"})
    display = quiet()
    results = train(config, workdir, display=display)
    assert "accuracy_many_to_one" not in results
    assert results["evaluated_images"] == sum(results["cluster_sizes"]) == 20
    assert json.loads((workdir / "results.json").read_text()) == results
    for text in ("20 of 8x8x1 uint8", "no labels", "streamed from disk", "cluster entropy", "prepared copy in"):
        assert text in printed(display)
    assert "accuracy" not in printed(display)
    facts = json.loads((workdir / "data.json").read_text())
    assert (facts["name"], facts["count"], facts["labels"]) == ("folder:pictures", 20, None)
    with Image.open(workdir / "data.png") as picture:
        picture.verify()

    before, display = contents(workdir), quiet()
    assert train(config, workdir, display=display) == results
    assert contents(workdir) == before, "a finished run is left as it is"
    assert "finished already" in printed(display)

    config.training.iterations = 6
    results = train(config, workdir, display=quiet())
    assert (results["iterations"], results["resumed_at"]) == (6, 4)
    before, config.training.iterations = contents(workdir), 3
    with pytest.raises(ConfigError, match=r"has trained 6 iterations, and config.training.iterations is 3; allowed: 6"):
        train(config, workdir, display=quiet())
    assert contents(workdir) == before


def test_another_model_does_not_ruin_a_run(tmp_path):
    workdir, config = make_run(tmp_path / "run"), trained_config()
    before = contents(workdir)
    config.model.num_clusters, config.training.iterations = 4, 8
    with pytest.raises(ConfigError, match=r"config.model.num_clusters was 3 and is 4"):
        train(config, workdir, tiny_dataset(), display=quiet())
    with pytest.raises(CheckpointError, match=r"is of another model: "):
        train(config, workdir, tiny_dataset(), override=True, display=quiet())
    assert contents(workdir) == before


def test_changed_data_is_seen_before_anything_is_written(tmp_path):
    config = trained_config()
    workdir = make_run(tmp_path / "run", config)
    before, changed = contents(workdir), from_arrays(SMALL_IMAGES[:18], np.arange(18) % 2, name="npz:images")
    config.training.iterations = 6
    with pytest.raises(
        DataError, match=r"the data has changed .*count was 20 and is 18; range was .*--resume=override"
    ):
        train(config, workdir, changed, display=quiet())
    assert contents(workdir) == before
    display = quiet()
    config.evaluation.samples_per_cluster = 2
    assert train(config, workdir, changed, override=True, display=display)["resumed_at"] == 4
    assert "count was 20 and is 18" in printed(display)
    assert json.loads((workdir / "data.json").read_text())["count"] == 18


def test_two_trainings_do_not_share_a_folder(tmp_path):
    config = trained_config()
    workdir, dataset = make_run(tmp_path / "run", config), dataclasses.replace(tiny_dataset(), name="npz:images")
    before = contents(workdir)
    with lock_workdir(workdir, print), pytest.raises(WorkdirError, match="where another process is training"):
        train(config, workdir, dataset, display=quiet())
    assert contents(workdir) == before
    with lock_workdir(workdir, print):
        assert load(workdir).iteration == 4, "reading goes on"


def test_a_session_in_float64_does_not_train(tmp_path):
    with jax.enable_x64(True):
        for call in (lambda: train(tiny_config(), tmp_path / "run", tiny_dataset()), lambda: estimate(tiny_config())):
            with pytest.raises(
                ConfigError, match=r"jax_enable_x64 is on, and config.training.precision is 'float32'.*JAX_ENABLE_X64=0"
            ):
                call()
    config = tiny_config()
    config.training.precision = "float64"
    with pytest.raises(ConfigError, match=r"jax_enable_x64 is off, and config.training.precision is 'float64'"):
        train(config, tmp_path / "run", tiny_dataset())
    assert not (tmp_path / "run").exists()


def test_data_that_does_not_fit_is_refused_before_anything_is_written(folder, tmp_path):
    dataset = from_arrays(RNG.integers(0, 256, (20, 16, 16, 1)).astype(np.uint8))
    with pytest.raises(ConfigError, match=r"config.data.resolution is 8; allowed: 16.*from_arrays resizes"):
        train(tiny_config(), tmp_path / "run", dataset, display=quiet())
    config = tiny_config()
    config.training.conditional = True
    with pytest.raises(ConfigError, match="num_clusters is 3; allowed: 2"):
        train(config, tmp_path / "run", from_arrays(SMALL_IMAGES, np.arange(20) % 2), display=quiet())
    config = tiny_config()
    config.training.update({"warm_start": 0.5, "warm_labels": str(tmp_path / "nowhere.npy")})
    with pytest.raises(ConfigError, match=r"allowed: 'tsne', or a .npy file of 20 integers from 0 to 2.*No such file"):
        train(config, tmp_path / "run", tiny_dataset(), display=quiet())
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache": False})
    config.training.batch_size = 21
    with pytest.raises(ConfigError, match=r"config.training.batch_size is 21; allowed: at most 20"):
        train(config, tmp_path / "run", display=quiet())
    assert not (tmp_path / "run").exists()


def test_labels_of_a_warm_start_are_made_once(tmp_path, monkeypatch):
    config, made = tiny_config(), np.arange(20, dtype=np.int32) % 3
    config.training.warm_start = 0.5

    def given_labels():
        run = train_module._open_run(config, tmp_path, quiet(), tiny_dataset(), make_layout(config))
        run.checkpoints.close()
        return train_module._given_labels(run)

    monkeypatch.setattr(train_module, "make_warm_labels", lambda config, images: made)
    np.testing.assert_array_equal(given_labels(), made)
    monkeypatch.setattr(train_module, "make_warm_labels", lambda config, images: 2 - made)
    write_facts(tmp_path, settings_of(config), tiny_dataset().facts())
    np.testing.assert_array_equal(given_labels(), made)


def test_preparing_fills_the_cache_and_trains_nothing(folder, tmp_path):
    config, display = tiny_config(), quiet()
    config.data.update({"name": f"folder:{folder}", "cache_dir": str(tmp_path / "cache")})
    prepare(config, display)
    assert "20 of 8x8x1 uint8" in printed(display)
    assert len(list((tmp_path / "cache" / "folder_pictures").iterdir())) == 1


def test_the_estimate_is_measured_by_the_first_calls(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, display = tiny_config(), quiet()
    config.training.iterations = 1_000_000
    cost = estimate(config, tiny_dataset(), display=display)
    assert cost["training_seconds"] == pytest.approx(
        cost["compile_seconds"] + (1_000_000 - 2) / cost["iterations_per_second"]
    )
    assert cost["checkpoint_bytes"] == sum(leaf.nbytes for leaf in jax.tree.leaves(tiny_state()))
    for text in ("compiled   in", "it/s; memory: host", "checkpoints: 0.1 MB each, the last 3 kept"):
        assert text in printed(display)
    config.training.iterations = 2
    with pytest.raises(ConfigError, match="iterations is 2; allowed with --estimate: more than 2"):
        estimate(config, tiny_dataset(), display=quiet())
    assert not list(tmp_path.iterdir())


def test_another_family_of_components_is_trained_and_used(tmp_path):
    config = tiny_config()
    config.prior.update({"family": "student_t", "learn_degrees_of_freedom": True})
    train(config, tmp_path / "run", tiny_dataset(), display=quiet())
    trained = load(tmp_path / "run")
    excess = trained.weights.params["prior"]["excess"]
    assert np.ptp(excess) > 0
    assert np.all(np.isfinite(excess))
    z, y = trained.draw(0, 5, truncation=0.0)
    np.testing.assert_allclose(z, trained.prior.mean[y], atol=1e-6)
    assert np.all(np.isfinite(trained.log_prob(SMALL_IMAGES)))
    again = load(export_model(tmp_path / "run", tmp_path / "exported"))
    np.testing.assert_array_equal(again.predict(SMALL_IMAGES), trained.predict(SMALL_IMAGES))
    config.training.iterations = 6
    assert train(config, tmp_path / "run", tiny_dataset(), display=quiet())["resumed_at"] == 4


def test_several_seeds_at_once_and_one_of_them_on_its_own(tmp_path):
    """Two seeds for four iterations; one of them goes on alone, and a third run starts from its weights."""
    dataset = from_arrays(RNG.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40) % 3)
    config, display, two = tiny_config(), quiet(), tmp_path / "two"
    config.num_seeds, config.seed = 2, 5
    config.evaluation.update({"every": 2, "samples_per_cluster": 2})
    config.checkpoints.best = "mean_confidence"
    results = train(config, two, dataset, display=display)
    assert [scores["seed"] for scores in results["members"]] == [5, 6]
    accuracies = [scores["accuracy_many_to_one"] for scores in results["members"]]
    ranks = [entry["rank"] for entry in results["selection"]]
    assert ranks[results["selected_seed"] - 5] == max(ranks)
    assert results["mean"]["accuracy_many_to_one"] == pytest.approx(np.mean(accuracies))
    assert results["sd"]["accuracy_many_to_one"] == pytest.approx(np.std(accuracies, ddof=1))
    shown = _read_members(two)
    assert [(member["seed"], member["rank"]) for member in shown] == [(5, ranks[0]), (6, ranks[1])]
    assert [member["seed"] for member in shown if member["selected"]] == [results["selected_seed"]]
    assert _read_members(two / "seed_5") == []
    assert results["best_checkpoint"] in (2, 4)
    assert json.loads((two / "results.json").read_text()) == results
    assert json.loads((two / "seed_6" / "results.json").read_text())["accuracy_many_to_one"] == accuracies[1]
    assert "±" in printed(display)
    lines = [json.loads(line) for line in (two / "metrics.jsonl").read_text().splitlines()]
    assert [(line["iteration"], line["seed"]) for line in lines if "generator_loss" in line] == [
        (iteration, seed) for iteration in (2, 4) for seed in (5, 6)
    ]
    for name in ("seed_5/clusters.png", "seed_6/reconstructions.png", "tensorboard/seed_6"):
        assert (two / name).exists()

    with pytest.raises(ConfigError, match=r"--seed is 7; allowed: one of several seeds of .* which has \[5, 6\]"):
        export_seed(two, 7, tmp_path / "six")
    with pytest.raises(WorkdirError, match="which is not empty"):
        export_seed(two, 6, tmp_path)
    (two / WARM_LABELS).write_bytes(b"labels")
    assert export_seed(two, 6, tmp_path / "six") == 4
    assert (tmp_path / "six" / WARM_LABELS).read_bytes() == b"labels"
    assert (tmp_path / "six" / "results.json").read_text() == (two / "seed_6" / "results.json").read_text()
    lines = [json.loads(line) for line in (tmp_path / "six" / "metrics.jsonl").read_text().splitlines()]
    assert {line["seed"] for line in lines} == {6}
    alone = tiny_config()
    alone.seed, alone.training.iterations = 6, 6
    results = train(alone, tmp_path / "six", dataset, display=quiet())
    assert (results["iterations"], results["resumed_at"], results["seed"]) == (6, 4, 6)
    display, alone.training.iterations = quiet(), 2
    train(alone, tmp_path / "third", dataset, init_from=tmp_path / "six", display=display)
    assert "weights from" in printed(display)
    # Two steps of Adam away, where a fresh start would be 0.02 away.
    kernels = [load(tmp_path / name).weights.params["generator"]["linear"]["kernel"] for name in ("third", "six")]
    np.testing.assert_allclose(*kernels, atol=2e-3)
