"""The command as a person runs it: a tiny experiment trained, gone on with, failing, and mistakes."""

import dataclasses
import io
import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from mpcc_jax.console import Display
from mpcc_jax.data import load_dataset
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.evaluation import generation
from mpcc_jax.evaluation.evaluate import evaluate
from mpcc_jax.evaluation.inception_weights import InceptionWeights
from mpcc_jax.trained_model import load
from reproduce import __main__ as command
from reproduce import run as execution
from reproduce.__main__ import choose, main, parse_seeds
from reproduce.errors import ReproduceError
from reproduce.provenance import describe_hardware, read_commit
from tests.reproduce.examples import make_row, make_table


def call(folder, *arguments, tables):
    """Runs the command; returns its exit status, or what it says of a mistake, and what it printed."""
    display = Display(Console(file=io.StringIO(), width=300))
    given = [*arguments, f"--out={folder / 'out'}", f"--runs={folder / 'runs'}"]
    with pytest.raises(SystemExit) as stopped:
        main(given, tables, display)
    return stopped.value.code, display.console.file.getvalue()


def read_record(folder, seed, row="small"):
    return json.loads((folder / "out" / "runs" / f"paper_{row}_paper_seed{seed}.json").read_text())


def forbid(*_, **__):
    raise AssertionError("nothing is left to train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A seed of the tiny experiment, run by the command."""
    folder = tmp_path_factory.mktemp("reproduce")
    tables = {"table4": make_table(make_row(folder))}
    status, printed = call(folder, "table4", "--seeds=1", tables=tables)
    assert status == 0, printed
    return folder, tables


@pytest.fixture
def again(trained, tmp_path):
    """A copy of it; the images are still read where they were."""
    shutil.copytree(trained[0] / "runs", tmp_path / "runs")
    shutil.copytree(trained[0] / "out", tmp_path / "out")
    return tmp_path, trained[1]


def test_a_run_is_trained_measured_and_recorded(trained):
    folder, _ = trained
    workdir = folder / "runs" / "paper" / "small" / "paper" / "seed0"
    results, record = json.loads((workdir / "results.json").read_text()), read_record(folder, 0)
    assert record["status"] == "finished"
    for name in ("accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ari", "cluster_sizes", "cluster_entropy"):
        assert record["scores"][name] == results[name]
    assert record["settings"] == json.loads((workdir / "config.json").read_text())
    assert (record["seed"], record["evaluated_images"], record["iterations"]) == (0, 40, 4)
    assert (record["hardware"], record["commit"]) == ([describe_hardware()], [read_commit()])
    assert record["seconds"] == results["training_seconds"] > 0
    assert record["versions"].keys() == {"jax", "flax", "optax"}
    assert record["generation"] is None

    model = load(workdir)
    expected = evaluate(model, load_dataset(model.config)).scores
    assert record["scores"]["reconstruction_mse"] == pytest.approx(expected["reconstruction_mse"], rel=1e-5)

    cell = f"| accuracy (Eq. 11), % | paper | 1 | {100 * results['accuracy_many_to_one']:.2f} |"
    assert cell in (folder / "out" / "table4_paper.md").read_text()


def test_what_is_finished_is_not_trained_again(again, monkeypatch):
    folder, tables = again
    monkeypatch.setattr(execution, "train", forbid)
    before = read_record(folder, 0)
    status, printed = call(folder, "table4", "--seeds=1", tables=tables)
    assert status == 0
    assert "1 of 1 runs are finished" in printed
    assert read_record(folder, 0) == before

    # A run that launch.py has finished has no record yet, and does not say where it was trained.
    (folder / "out" / "runs" / "paper_small_paper_seed0.json").unlink()
    (folder / "runs" / "paper" / "small" / "paper" / "seed0" / "sessions.json").unlink()
    status, printed = call(folder, "table4", "--seeds=1", "--hardware=a laptop", tables=tables)
    assert status == 0
    assert "0 of 1 runs are finished" in printed
    record = read_record(folder, 0)
    assert (record["hardware"], record["commit"]) == (["a laptop"], ["not known"])
    for name in before.keys() - {"hardware", "commit", "workdir"}:
        assert record[name] == before[name]


def test_an_interrupted_run_goes_on(again):
    folder, tables = again
    workdir = folder / "runs" / "paper" / "small" / "paper" / "seed0"
    before = read_record(folder, 0)
    shutil.rmtree(workdir / "checkpoints" / "4")
    for path in (workdir / "results.json", folder / "out" / "runs" / "paper_small_paper_seed0.json"):
        path.unlink()
    status, printed = call(folder, "table4", "--seeds=1", "--plan", tables=tables)
    assert status == 0
    assert "half done  2 of 4 iterations" in printed
    assert not (workdir / "results.json").exists()

    status, printed = call(folder, "table4", "--seeds=1", tables=tables)
    assert status == 0
    assert "after 2 iterations" in printed
    record = read_record(folder, 0)
    assert record["resumed"]
    assert record["scores"] == before["scores"], "bit for bit, as one that was not interrupted"
    assert [session["from"] for session in json.loads((workdir / "sessions.json").read_text())] == [0, 2]


def test_a_run_that_fails_is_recorded_and_the_others_go_on(again, monkeypatch):
    folder, tables = again
    (folder / "out" / "runs" / "paper_small_paper_seed0.json").unlink()
    train = execution.train

    def fail(config, *arguments):
        if config.seed == 2:
            raise NonFiniteError("Iteration 3 is not finite: generator_loss = nan.")
        return train(config, *arguments)

    monkeypatch.setattr(execution, "train", fail)
    status, printed = call(folder, "table4", "--seeds=0,2", tables=tables)
    assert status == 1
    assert "small, paper, seed 2 has failed; the same command tries again" in printed
    assert read_record(folder, 2)["status"] == "failed"
    assert read_record(folder, 0)["status"] == "finished"
    text = (folder / "out" / "table4_paper.md").read_text()
    assert "- Small, paper, seed 2: Iteration 3 is not finite: generator_loss = nan." in text
    assert "| accuracy (Eq. 11), % | paper | 1 |" in text, "seed 0"


def test_sigterm_ends_the_work_and_is_no_failure(again, monkeypatch):
    folder, tables = again
    calls = []
    monkeypatch.setattr(execution, "train", lambda config, *_: calls.append(config.seed) or (None, None, None))
    status, _ = call(folder, "table4", "--seeds=4", tables=tables)
    assert (status, calls) == (0, [1])
    assert not (folder / "out" / "runs" / "paper_small_paper_seed1.json").exists()


def test_images_are_measured_later_without_training_again(again, monkeypatch):
    """Weights that come after the run; a cheap stand-in for Inception."""
    folder, tables = again
    projection = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)

    def cheap_features(weights, images, resize, progress=None):
        images = images if hasattr(images, "shape") else np.concatenate(list(images))
        features = images.reshape(-1, 64).astype(np.float32) / 255 @ projection
        return features, features

    weights = InceptionWeights({}, "given.npz", "ab" * 32, False)
    for module in (command, generation):
        monkeypatch.setattr(module, "find_weights", lambda path, cache: path)
        monkeypatch.setattr(module, "read_weights", lambda path: weights)
    monkeypatch.setattr(generation, "extract_features", cheap_features)
    monkeypatch.setenv("MPCC_JAX_CACHE", str(folder / "cache"))
    monkeypatch.setattr(execution, "train", forbid)
    row = dataclasses.replace(tables["table4"].rows[0], published={})
    tables = {"table1": make_table(row, name="table1", measures=("accuracy", "fid"))}
    flags = ["table1", "--inception=given.npz", "--num_samples=24"]
    status, printed = call(folder, *flags, "--seeds=1", tables=tables)
    assert status == 0
    assert "trained, to be measured" in printed
    record = read_record(folder, 0)
    assert record["generation"]["protocol"]["num_samples"] == 24
    text = (folder / "out" / "table1_paper.md").read_text()
    assert f"| FID | paper | 1 | {record['generation']['fid']:.2f} |" in text
    assert "IS and FID of 24 generated images." in text
    assert "1 of 1 runs are finished" in call(folder, *flags, "--seeds=1", tables=tables)[1]


def test_several_seeds_in_one_program(trained, tmp_path):
    status, printed = call(tmp_path, "table4", "--seeds=3,4", "--num_seeds_at_once=2", tables=trained[1])
    assert status == 0, printed
    workdir = tmp_path / "runs" / "paper" / "small" / "paper" / "seeds3to4"
    results = json.loads((workdir / "results.json").read_text())
    for member, seed in zip(results["members"], (3, 4), strict=True):
        record = read_record(tmp_path, seed)
        assert (record["seed"], record["seeds_at_once"]) == (seed, 2)
        assert record["scores"]["accuracy_many_to_one"] == member["accuracy_many_to_one"]
    assert "2 of 2 runs" not in printed
    assert "2 of 2 runs are finished" in call(tmp_path, "table4", "--seeds=3,4", tables=trained[1])[1], "one at a time"


def test_only_the_table(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "train", forbid)
    status, _ = call(tmp_path, "table4", "--table_only", tables=trained[1])
    assert status == 0
    assert "| accuracy (Eq. 11), % | paper | 0 | not run |" in (tmp_path / "out" / "table4_paper.md").read_text()
    assert not (tmp_path / "runs").exists()


def test_data_that_are_missing_are_noticed_before_anything_is_trained(tmp_path, monkeypatch):
    rows = [make_row(tmp_path, name) for name in ("here", "gone")]
    rows[1].config.write_text(rows[1].config.read_text().replace("images.npz", "gone.npz"))
    monkeypatch.setattr(execution, "train", forbid)
    status, _ = call(tmp_path, "table4", "--seeds=1", tables={"table4": make_table(*rows)})
    assert status.startswith("error: ")
    assert "gone.npz" in status


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--seeds=none"], "--seeds is 'none'; allowed: how many, as 5 for 0 to 4; or which"),
        (["--rows=big"], "--rows has 'big'; allowed: small"),
        (["--variants=official"], "--variants has 'official'; allowed: paper, released"),
        (["--num_seeds_at_once=0"], "--num_seeds_at_once is 0; allowed: 1 or more"),
        (["--scale=cpu"], "--scale=cpu has no settings for the data set 'npz:"),
        (["--num_samples=3", "--seeds=1"], "--num_samples is 3; allowed: 20 or more"),
        (["--inception=/gone.npz"], "the weights of Inception are not at /gone.npz"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, flags, message):
    tables = {"table1": make_table(make_row(tmp_path), name="table1", measures=("accuracy", "fid"))}
    status, _ = call(tmp_path, "table1", *flags, tables=tables)
    assert status.startswith(f"error: {message}")
    assert "\n" not in status


def test_seeds_are_a_number_or_a_list():
    assert parse_seeds("3") == [0, 1, 2]
    assert parse_seeds("3,0,3") == [0, 3]
    assert parse_seeds("3,") == [3]
    for text in ("", "0", ",", "a,1", "-1", "1,,2"):
        with pytest.raises(ReproduceError, match="--seeds is"):
            parse_seeds(text)


def test_names_keep_the_order_of_the_table():
    assert choose("--rows", "b, a", ["a", "b", "c"]) == ["a", "b"]
    assert choose("--rows", None, ["a", "b"]) == ["a", "b"]
