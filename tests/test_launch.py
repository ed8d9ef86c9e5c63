"""The program as a person runs it: a short run from the command line, and mistakes that end in one line."""

import json

import pytest
from PIL import Image

from tests.processes import launch


def test_a_short_run_trains_scores_and_draws(tmp_path):
    fields = {
        "model.channels": 1,
        "training.batch_size": 8,
        "training.iterations": 4,
        "training.iterations_per_call": 2,
        "evaluation.every": 2,
        "evaluation.samples_per_cluster": 2,
    }
    overrides = [f"--config.{name}={value}" for name, value in fields.items()]
    run = launch("--workdir", str(tmp_path / "run"), *overrides)
    assert run.returncode == 0, run.stderr
    for text in ("1797 of 8x8x1", "generator/linear/kernel", "4/4", "it/s", "many to one (Eq. 11)", "iteration 2:"):
        assert text in run.stdout
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert 0.1 <= results["accuracy_one_to_one"] <= results["accuracy_many_to_one"] <= 1
    assert sum(results["cluster_sizes"]) == 1797
    assert json.loads((tmp_path / "run" / "config.json").read_text())["training"]["iterations"] == 4
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "generator_loss" in line] == [2, 4]
    for name in ("clusters.png", "reconstructions.png"):
        with Image.open(tmp_path / "run" / name) as picture:
            picture.verify()


def test_preparing_shows_the_data_and_needs_no_workdir():
    run = launch("--mode=prepare")
    assert run.returncode == 0, run.stderr
    assert "1797 of 8x8x1" in run.stdout
    assert "it/s" not in run.stdout
    assert "--workdir must say where the results of training go" in launch().stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.training.iteratons=3"], "iteratons"),
        (["--config.variant=papper"], "config.variant is 'papper'; allowed: 'paper', 'released'."),
        (["--config.data.name=mnits"], "config.data.name is 'mnits'; allowed: 'digits', 'mnist'"),
        (["--config.data.name=folder:/nowhere"], "'folder:/nowhere', and there is no such folder"),
        (["--config.data.name=mnist", "--config.data.dir=/nowhere"], "looked in /nowhere/mnist for TFDS data"),
        (["--config.training.batch_size=2000"], "at most 1797"),
        (["--config", "configs/digit.py"], "'configs/digit.py', which is not a file"),
        (["--workdir", "/dev/null/run"], "--workdir is '/dev/null/run', which cannot be written"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_compiles(tmp_path, arguments, message):
    run = launch("--workdir", str(tmp_path / "run"), *arguments)
    assert run.returncode != 0
    assert message in run.stderr
    assert "Traceback" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())
