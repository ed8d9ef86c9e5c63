"""A whole run in this process: pictures without labels, streamed, and arrays from Python."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from mpcc_jax.console import Display
from mpcc_jax.data import from_arrays
from mpcc_jax.errors import ConfigError, WorkdirError
from mpcc_jax.training.export_seed import export_seed
from mpcc_jax.training.train import load, prepare, train
from tests.conftest import tiny_config

RNG = np.random.default_rng(0)


def quiet():
    return Display(Console(file=io.StringIO(), width=200))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "pictures").mkdir()
    for index in range(20):
        Image.fromarray(RNG.integers(0, 256, (8, 12)).astype(np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    return tmp_path / "pictures"


def test_pictures_without_labels_streamed_from_the_cache(folder, tmp_path):
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache_dir": str(tmp_path / "cache"), "placement": "stream"})
    display = quiet()
    _, state, results = train(config, tmp_path / "run", display)
    assert int(state.iteration) == 4
    assert "accuracy_many_to_one" not in results
    assert results["evaluated_images"] == sum(results["cluster_sizes"]) == 20
    printed = display.console.file.getvalue()
    for text in ("20 of 8x8x1 uint8", "no labels", "streamed from disk", "cluster entropy", "prepared copy in"):
        assert text in printed
    assert "accuracy" not in printed
    facts = json.loads((tmp_path / "run" / "data.json").read_text())
    assert (facts["name"], facts["count"], facts["labels"]) == ("folder:pictures", 20, None)
    with Image.open(tmp_path / "run" / "data.png") as picture:
        picture.verify()


def test_arrays_from_python_stand_for_the_configured_data():
    dataset = from_arrays(RNG.integers(0, 256, (20, 8, 8, 1)).astype(np.uint8), np.arange(20) % 2, name="mine")
    config = tiny_config()
    config.data.name = "is not looked at"
    assert load(config, quiet(), dataset)[0] is dataset
    config.training.conditional = True
    with pytest.raises(ConfigError, match="num_clusters is 3; allowed: 2"):
        load(config, quiet(), dataset)


def test_arrays_of_another_size_are_refused_before_anything_is_written(tmp_path):
    dataset = from_arrays(RNG.integers(0, 256, (20, 16, 16, 1)).astype(np.uint8))
    with pytest.raises(ConfigError, match=r"config.data.resolution is 8; allowed: 16.*from_arrays resizes"):
        train(tiny_config(), tmp_path / "run", quiet(), dataset)
    assert not (tmp_path / "run").exists()


def test_preparing_fills_the_cache_and_trains_nothing(folder, tmp_path):
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache_dir": str(tmp_path / "cache")})
    display = quiet()
    prepare(config, display)
    assert "20 of 8x8x1 uint8" in display.console.file.getvalue()
    assert len(list((tmp_path / "cache" / "folder_pictures").iterdir())) == 1


def test_fewer_pictures_than_a_batch(folder, tmp_path):
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache": False})
    config.training.batch_size = 21
    with pytest.raises(ConfigError, match=r"config.training.batch_size is 21; allowed: at most 20"):
        train(config, tmp_path / "run", quiet())


def test_several_seeds_at_once_and_one_of_them_on_its_own(tmp_path, capsys):
    """Two seeds for two iterations; one of them goes on alone, and a third run starts from its weights."""
    dataset = from_arrays(RNG.integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), np.arange(40) % 3)
    config, display = tiny_config(), quiet()
    config.num_seeds, config.seed, config.training.iterations = 2, 5, 2
    config.evaluation.update({"every": 1, "samples_per_cluster": 2})
    config.checkpoints.best = "mean_confidence"
    _, state, results = train(config, tmp_path / "two", display, dataset)
    assert [scores["seed"] for scores in results["members"]] == [5, 6]
    accuracies = [scores["accuracy_many_to_one"] for scores in results["members"]]
    assert results["mean"]["accuracy_many_to_one"] == pytest.approx(np.mean(accuracies))
    assert results["sd"]["accuracy_many_to_one"] == pytest.approx(np.std(accuracies, ddof=1))
    assert results["best_checkpoint"] in (1, 2)
    assert json.loads((tmp_path / "two" / "results.json").read_text()) == results
    assert "±" in display.console.file.getvalue()
    lines = [json.loads(line) for line in (tmp_path / "two" / "metrics.jsonl").read_text().splitlines()]
    assert [(line["iteration"], line["seed"]) for line in lines if "generator_loss" in line] == [(2, 5), (2, 6)]
    for name in ("seed_5/clusters.png", "seed_6/reconstructions.png", "tensorboard/seed_6"):
        assert (tmp_path / "two" / name).exists()

    with pytest.raises(ConfigError, match=r"--seed is 7; allowed: one of several seeds of .* which has \[5, 6\]"):
        export_seed(tmp_path / "two", 7, tmp_path / "six")
    with pytest.raises(WorkdirError, match="which is not empty"):
        export_seed(tmp_path / "two", 6, tmp_path)
    export_seed(tmp_path / "two", 6, tmp_path / "six")
    assert "seed 6 of" in capsys.readouterr().out
    alone = tiny_config()
    alone.seed = 6
    alone.evaluation.update({"every": 1, "samples_per_cluster": 2})
    _, further, results = train(alone, tmp_path / "six", quiet(), dataset, override=True)
    assert (int(further.iteration), results["resumed_at"], results["seed"]) == (4, 2, 6)

    alone.training.iterations = 2
    display = quiet()
    _, started, _ = train(alone, tmp_path / "third", display, dataset, init_from=tmp_path / "six")
    assert "weights from" in display.console.file.getvalue()
    # Two steps of Adam away, where a fresh start would be 0.02 away.
    one, other = (x.params["generator"]["linear"]["kernel"] for x in (started, further))
    np.testing.assert_allclose(one, other, atol=2e-3)
    np.testing.assert_array_equal(np.shape(state.iteration), (2,))
