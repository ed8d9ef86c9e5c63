"""The command as a person runs it: a tiny experiment trained, gone on with, failing, and mistakes."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest

from mpcc_jax.errors import InputError, NonFiniteError
from mpcc_jax.evaluation.generation import measure, plan_measurement
from reproduce import __main__ as command
from reproduce import runs
from reproduce.__main__ import choose, main, parse_seeds
from reproduce.tables import TABLES
from tests.reproduce.examples import make_row, make_table

RECORD = "paper_small_paper_seed0.json"


def call(folder, *arguments, table):
    """Runs the command on another table; returns its exit status, or what it says of a mistake."""
    with mock.patch.dict(TABLES, {table.name: table}), pytest.raises(SystemExit) as stopped:
        main([table.name, *arguments, f"--out={folder / 'out'}", f"--runs={folder / 'runs'}"])
    return stopped.value.code


def read_record(folder, name=RECORD):
    return json.loads((folder / "out" / "runs" / name).read_text())


def forbid(*_, **__):
    raise AssertionError("nothing is left to train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A seed of the tiny experiment, run by the command."""
    folder = tmp_path_factory.mktemp("reproduce")
    table = make_table(make_row(folder))
    assert call(folder, "--seeds=1", table=table) == 0
    return folder, table


@pytest.fixture
def again(trained, tmp_path):
    """A copy of it; the images are still read where they were."""
    for name in ("runs", "out"):
        shutil.copytree(trained[0] / name, tmp_path / name)
    return tmp_path, trained[1], tmp_path / "runs" / "paper" / "small" / "paper" / "seed0"


def test_a_run_is_trained_measured_and_recorded(trained):
    folder, _ = trained
    workdir = folder / "runs" / "paper" / "small" / "paper" / "seed0"
    results, record = json.loads((workdir / "results.json").read_text()), read_record(folder)
    for name in ("accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ari", "cluster_sizes", "reconstruction_mse"):
        assert record["scores"][name] == results[name]
    assert record["settings"] == json.loads((workdir / "config.json").read_text())
    assert (record["status"], record["seed"], record["evaluated_images"]) == ("finished", 0, 40)
    assert (record["hardware"], record["commit"]) == ([runs.describe_hardware()], [runs.read_commit()])
    assert record["seconds"] == results["training_seconds"] > 0
    assert (record["versions"], record["date"]) == (results["versions"], results["date"])
    cell = f"| accuracy (Eq. 11), % | paper | 1 | {100 * results['accuracy_many_to_one']:.2f} |"
    assert cell in (folder / "out" / "table4_paper.md").read_text()


def test_seeds_train_at_once_where_there_are_devices(tmp_path, monkeypatch):
    """Two on two devices, killed after the first became a run; the third has a device for itself."""
    row, runs_of = make_row(tmp_path), tmp_path / "runs" / "paper" / "small" / "paper"

    def get_config(original=row.get_config):
        config = original()
        config.mesh.devices = 2
        return config

    table = make_table(row._replace(get_config=get_config))
    kept = runs.export_seed

    def killed(workdir, seed, out):
        kept(workdir, seed, out)
        if seed == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(runs, "export_seed", killed)
    with mock.patch.dict(TABLES, {"table4": table}), pytest.raises(KeyboardInterrupt):
        main(["table4", "--seeds=3", f"--out={tmp_path / 'out'}", f"--runs={tmp_path / 'runs'}"])
    assert sorted(path.name for path in runs_of.iterdir()) == ["seed0", "seed1.part", "seeds0-1"]
    monkeypatch.setattr(runs, "export_seed", kept)
    assert call(tmp_path, "--seeds=3", table=table) == 0
    records = [read_record(tmp_path, RECORD.replace("0", str(seed))) for seed in range(3)]
    assert [(record["seed"], record["status"], record["seeds_at_once"]) for record in records] == [
        (0, "finished", 2),
        (1, "finished", 2),
        (2, "finished", 1),
    ]
    members = json.loads((runs_of / "seeds0-1" / "results.json").read_text())["members"]
    for record, member in zip(records, members, strict=False):
        assert record["scores"]["nmi"] == member["nmi"]
        assert record["hardware"] == [runs.describe_hardware()]
        assert record["seconds"] > 0
    assert sorted(path.name for path in runs_of.iterdir()) == ["seed0", "seed1", "seed2", "seeds0-1"]


def test_seeds_that_fail_at_once_are_trained_alone(tmp_path, monkeypatch, capsys):
    row, seen = make_row(tmp_path), []

    def get_config(original=row.get_config):
        config = original()
        config.mesh.devices = 3
        return config

    def train(config, *_, **__):
        seen.append((config.seed, config.num_seeds))
        raise NonFiniteError("Iteration 3 is not finite.")

    monkeypatch.setattr(runs, "train", train)
    assert call(tmp_path, "--seeds=2", table=make_table(row._replace(get_config=get_config))) == 1
    assert seen == [(0, 2), (0, 1), (1, 1)]
    assert (
        "small, paper, seed 0, with 1 more: Iteration 3 is not finite. Each is trained alone."
        in capsys.readouterr().err
    )


def test_what_has_a_record_is_not_trained_again(again, monkeypatch, capsys):
    folder, table, workdir = again
    before = read_record(folder)
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", forbid)
        assert call(folder, "--seeds=1", table=table) == 0
    assert "1 of 1 runs are finished" in capsys.readouterr().out
    assert read_record(folder) == before

    # A run that launch.py has finished has no record, and does not say from which commit.
    (folder / "out" / "runs" / RECORD).unlink()
    results = json.loads((workdir / "results.json").read_text())
    monkeypatch.setattr(runs, "train", lambda *_, **__: results)
    assert call(folder, "--seeds=1", table=table) == 0
    changed = {"hardware": [results["machine"]], "commit": ["not known"], "workdir": str(workdir)}
    assert read_record(folder) == before | changed


def test_an_interrupted_run_goes_on(again, capsys):
    folder, table, workdir = again
    before = read_record(folder)
    shutil.rmtree(workdir / "checkpoints" / "4")
    for path in (workdir / "results.json", folder / "out" / "runs" / RECORD):
        path.unlink()
    assert call(folder, "--seeds=1", "--plan", table=table) == call(folder, "--table_only", table=table) == 0
    assert "small, paper, seed 0: 2 of 4 iterations" in capsys.readouterr().out
    assert not (workdir / "results.json").exists()
    assert call(folder, "--seeds=1", table=table) == 0
    record = read_record(folder)
    assert record["resumed"]
    assert record["scores"] == before["scores"], "bit for bit, as one that was not interrupted"


def test_a_run_that_fails_is_recorded_and_the_others_go_on(again, monkeypatch, capsys):
    folder, table, workdir = again
    (folder / "out" / "runs" / RECORD).unlink()
    results = json.loads((workdir / "results.json").read_text())

    def train(config, *_, **__):
        if config.seed == 2:
            raise NonFiniteError("Iteration 3 is not finite: generator_loss = nan.")
        return results

    monkeypatch.setattr(runs, "train", train)
    assert call(folder, "--seeds=2,0", table=table) == 1
    assert "small, paper, seed 2 has failed; the same command tries again" in capsys.readouterr().err
    assert read_record(folder, RECORD.replace("0", "2"))["status"] == "failed"
    assert read_record(folder)["status"] == "finished"
    text = (folder / "out" / "table4_paper.md").read_text()
    assert "- Small, paper, seed 2: Iteration 3 is not finite: generator_loss = nan." in text
    assert "| accuracy (Eq. 11), % | paper | 1 |" in text, "seed 0"

    # SIGTERM ends the work and is no failure.
    seeds = []
    monkeypatch.setattr(runs, "train", lambda config, *_, **__: seeds.append(config.seed))
    assert call(folder, "--seeds=0,1,3", table=table) == 0
    assert seeds == [1]
    assert not (folder / "out" / "runs" / RECORD.replace("0", "1")).exists()


def test_images_are_measured_later_without_training_again(again, monkeypatch, capsys):
    folder, table, _ = again
    generation = {"fid": 12.5, "inception_score": {"mean": 2.0}, "protocol": {"num_samples": 24}}
    plan = mock.create_autospec(plan_measurement, return_value=SimpleNamespace())
    monkeypatch.setattr(runs, "train", forbid)
    monkeypatch.setattr(runs, "plan_measurement", plan)
    monkeypatch.setattr(runs, "measure", mock.create_autospec(measure, return_value=generation))
    monkeypatch.setattr(command, "find_weights", Path)
    table = make_table(table.rows[0]._replace(published={}), name="table1", measures=("accuracy", "fid"))
    flags = ["--inception=given.npz", "--num_samples=24", "--seeds=1"]
    assert call(folder, *flags, table=table) == 0
    assert "small, paper, seed 0: to be measured" in capsys.readouterr().out
    assert plan.call_args.kwargs == {"inception": Path("given.npz"), "num_samples": 24}
    assert plan.call_args.args[0].iteration == 4
    assert read_record(folder)["generation"] == generation
    assert "| FID | paper | 1 | 12.50 |" in (folder / "out" / "table1_paper.md").read_text()
    assert call(folder, *flags, table=table) == 0
    assert "1 of 1 runs are finished" in capsys.readouterr().out


def test_data_that_are_missing_are_noticed_before_anything_is_trained(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    table = make_table(make_row(tmp_path, "here"), make_row(tmp_path / "gone", "gone"))
    (tmp_path / "gone" / "images.npz").unlink()
    monkeypatch.setattr(runs, "train", forbid)
    message = call(tmp_path, "--seeds=1", table=table)
    assert message.startswith("error: ")
    assert "gone/images.npz" in message


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--seeds=none", "--seeds is 'none'; allowed: how many, as 5 for 0 to 4; or which"),
        ("--rows=big", "--rows has 'big'; allowed: small"),
        ("--variants=official", "--variants has 'official'; allowed: paper, released"),
        ("--scale=cpu", "--scale=cpu has no settings for the data set 'npz:"),
        ("--num_samples=3", "--num_samples is 3; allowed: 20 or more"),
        ("--inception=/gone.npz", "the weights of Inception are not at /gone.npz"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, flag, message):
    table = make_table(make_row(tmp_path), name="table1", measures=("accuracy", "fid"))
    status = call(tmp_path, flag, table=table)
    assert status.startswith(f"error: {message}")
    assert "\n" not in status


def test_seeds_and_names_are_read():
    assert (parse_seeds("3"), parse_seeds("3,0,3"), parse_seeds("3,")) == ([0, 1, 2], [0, 3], [3])
    assert parse_seeds("10-12") == [10, 11, 12]
    for text in ("", "0", ",", "a,1", "-1", "1,,2", "3-1"):
        with pytest.raises(InputError, match="--seeds is"):
            parse_seeds(text)
    assert choose("--rows", "b, a", ["a", "b", "c"]) == ["a", "b"], "in the order of the table"
