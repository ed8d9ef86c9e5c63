"""The program as a person runs it: a short run from the command line, and mistakes that end in one line."""

import json
import re

import pytest
from PIL import Image

from mpcc_jax.released.files import read_released
from tests import golden_data
from tests.processes import launch
from tests.trained import make_run
from tests.training.test_logging import read_events


def test_a_short_run_trains_scores_and_draws(tmp_path):
    fields = {
        "model.channels": 1,
        "training.batch_size": 8,
        "training.iterations": 4,
        "training.iterations_per_call": 2,
        "evaluation.every": 2,
        "evaluation.samples_per_cluster": 2,
        "logging.every": 2,
        "logging.images_every": 4,
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
    check_log(tmp_path / "run", lines)

    # The same run at a rate at which it cannot go on: it stops, says where, and keeps what it has.
    broken = ["--resume=override", "--config.training.iterations=8", "--config.training.learning_rate=1e30"]
    run = launch("--workdir", str(tmp_path / "run"), *overrides, *broken)
    assert run.returncode == 3
    assert re.search(r"error: Iteration [56] is not finite: .* network whose gradient is not finite: \w+", run.stderr)
    assert "Traceback" not in run.stderr
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["4"]


def check_log(workdir, lines):
    """Everything that is promised is in the log, and the event files say the same."""
    lines = [line for line in lines if "generator_loss" in line]
    prefixes = ("gradient_norm_", "spectral_norm_", "prior_sigma_", "alarm_")
    families = {prefix: {name for name in lines[-1] if name.startswith(prefix)} for prefix in prefixes}
    assert [len(names) for names in families.values()] == [5, 3, 3, 4]
    assert {
        *("discriminator_loss_real", "discriminator_loss_fake", "encoder_nll", "membership_cross_entropy"),
        *("prior_negative_entropy", "logits_real", "logits_fake", "probe_cluster_entropy", "probe_empty_clusters"),
        *("learning_rate", "prior_learning_rate", "iterations_per_second", "images_per_second"),
        "host_memory_peak_bytes",
    } <= set(lines[-1])
    events = read_events(workdir / "tensorboard")
    for name, tag in (("generator_loss", "generator_loss"), ("probe_cluster_entropy", "probe/cluster_entropy")):
        assert [event.step for event in events.Scalars(tag)] == [2, 4]
        written = [event.value for event in events.Scalars(tag)]
        assert written == pytest.approx([line[name] for line in lines], rel=1e-5)
    (sheet,) = events.Images("samples")
    assert (sheet.step, sheet.width, sheet.height) == (4, 8 * 9 - 1, 10 * 9 - 1)


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
        (["--config.training.learning_rate=nan"], "config.training.learning_rate is nan; allowed: a number above 0"),
        (["--config.checkpoints.best=silhouette"], "config.evaluation.every is 0; allowed: above 0, because"),
        (["--config.mesh.devices=7"], "config.mesh.devices is 7; allowed: 1 to 1"),
        (["--coordinator=here:1"], "--num_processes and --process_id must be given with --coordinator"),
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


def test_a_trained_model_is_used_from_the_command_line(tmp_path):
    workdir = make_run(tmp_path / "run")
    run = launch("--mode=predict", "--workdir", str(workdir), "--images", str(workdir / "images.npz"), "--batch_size=8")
    assert run.returncode == 0, run.stderr
    assert "20 images, by cluster: " in run.stdout
    assert len((workdir / "predictions.csv").read_text().splitlines()) == 21


def test_weights_and_states_travel_from_the_command_line(tmp_path):
    """The golden state dicts become a run, and files again; what a damaged one says."""
    run, golden = str(tmp_path / "run"), golden_data.GOLDEN / "golden_cbn.npz"
    imported = launch("--mode=import_released", "--released_dir", str(golden), "--workdir", run, "--iteration=9")
    assert imported.returncode == 0, imported.stderr
    assert "C = 2, J = 24, K = 10, conditional, images of 32x32x1" in imported.stdout
    exported = launch(
        "--mode=export_released", "--workdir", run, "--out", str(tmp_path / "theirs"), "--format=safetensors"
    )
    assert exported.returncode == 0, exported.stderr
    before, after = (read_released(path).tensors for path in (golden, tmp_path / "theirs"))
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())
    travelling = launch("--mode=export_state", "--workdir", run, "--out", str(tmp_path / "state"), "--dtype=bfloat16")
    assert travelling.returncode == 0, travelling.stderr
    assert "iteration 9 of" in travelling.stdout
    assert (tmp_path / "state" / "state.json").exists()
    (tmp_path / "theirs" / "E.safetensors").write_bytes(b"E")
    damaged = launch("--mode=import_released", "--released_dir", str(tmp_path / "theirs"), "--workdir", f"{run}2")
    assert damaged.returncode == 1
    assert f"error: {tmp_path / 'theirs' / 'E.safetensors'} is damaged" in damaged.stderr
    assert len(damaged.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--mode=import_released", "--workdir", "{}/new"],
            "--released_dir must be the folder of the authors' weights",
        ),
        (
            ["--mode=import_released", "--workdir", "{}/new", "--released_dir", "{}"],
            "error: {}/images.npz is the only file",
        ),
        (["--mode=export_released", "--workdir", "{}"], "--out must be a new folder"),
        (["--mode=export_state", "--workdir", "{}", "--out", "{}"], "error: --out is '{}', which is not empty"),
        (["--mode=predict", "--workdir", "{}"], "--images must be a folder, a picture or an .npz"),
        (["--mode=generate", "--workdir", "{}", "--cluster=3"], "error: cluster is 3; allowed: 0 to 2."),
        (["--mode=evaluate", "--workdir", "{}/none"], "which holds no run"),
        (["--mode=statistics", "--inception={}/none.pth"], "the weights of Inception are not at"),
    ],
)
def test_mistakes_with_a_trained_model_end_in_one_line(tmp_path, arguments, message):
    workdir = make_run(tmp_path / "run")
    run = launch(*(text.format(workdir) for text in arguments))
    assert run.returncode == 1
    assert message.format(workdir) in run.stderr
    assert "Traceback" not in run.stderr
