"""An exported model computes what its run does, and says where it is from."""

import json
import os

import numpy as np
import pytest

from mpcc_jax.cli import main
from mpcc_jax.errors import CheckpointError, WorkdirError
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import read_weights
from mpcc_jax.training.export import export_model
from mpcc_jax.training.train import train
from tests.conftest import SMALL_IMAGES
from tests.trained import make_run, tiny_dataset, tiny_state, trained_config

RESULTS = {
    "iteration": 4,
    "training_seconds": 5.0,
    "machine": "a machine",
    "evaluated_images": 20,
    "nmi": 0.5,
    "cluster_sizes": [12, 8],
    "cluster_entropy": 0.6,
    "empty_clusters": 0,
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    config = trained_config()
    config.data.dir = "/home/somebody"
    run = make_run(folder / os.fsdecode(b"run [1]\n\xff"), config)
    (run / "results.json").write_text(json.dumps(RESULTS))
    (run / "metrics.jsonl").write_text('{"iteration": 4, "generator_loss": 1.0}\n')
    return run, export_model(run, folder / "model")


def test_it_computes_what_the_run_does(exported):
    run, model = map(load, exported)
    np.testing.assert_array_equal(model.transform(SMALL_IMAGES), run.transform(SMALL_IMAGES))
    np.testing.assert_array_equal(model.generate(0, 3), run.generate(0, 3))
    assert (model.iteration, model.seed) == (4, 0)
    weights, source = read_weights(exported[1])
    assert source == exported[1]
    np.testing.assert_array_equal(weights["params"]["prior"]["mean"], tiny_state().params["prior"]["mean"])


def test_it_says_what_it_is_and_nothing_of_the_machine(exported):
    run, model = exported
    assert "somebody" not in "".join(path.read_text() for path in model.glob("*.json"))
    card = (model / "README.md").read_text()
    for text in (
        "# model\n",
        "20 images 8x8x1 of npz:images",
        "| normalised mutual information | 0.5000 |",
        "a machine",
    ):
        assert text in card
    command = next(line for line in card.splitlines() if line.startswith("mpcc train "))
    assert f"'--config.data.name=npz:{run.parent}/run [1]\\n\\udcff/images.npz'" in command
    assert "--config.model.latent_dim=8" in command
    assert (model / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()


def test_commands_take_it_as_they_take_a_run(exported, capsys):
    _, model = exported
    assert main(["generate", str(model), "--num_images=2"]) == 0
    assert (model / "generated.png").exists()
    assert main(["export-model", str(model), "--out", str(model)]) == 1
    assert "which is not empty" in capsys.readouterr().err


def test_it_is_not_trained_on_and_not_taken_for_another(exported, tmp_path):
    _, model = exported
    with pytest.raises(WorkdirError, match=r"which holds an exported model\. .*--init_from"):
        train(trained_config(), model, tiny_dataset())
    with pytest.raises(CheckpointError, match="has the weights of iteration 4, and not of 2"):
        load(model, iteration=2)
    damaged = export_model(model, tmp_path / "damaged")
    (damaged / "weights.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"the model in .* cannot be read"):
        load(damaged)
