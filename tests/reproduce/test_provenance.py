import json
import os
import subprocess

import jax
import pytest

from reproduce.provenance import (
    begin_session,
    describe_hardware,
    describe_run,
    read_commit,
    read_sessions,
    training_seconds,
)

RESULTS = {"iterations": 400, "resumed_at": 0, "training_seconds": 12.5}
NOON = 1_795_435_200  # 2026-11-23, 12:00 UTC


def test_the_hours_of_an_interrupted_run_are_those_of_its_log(tmp_path):
    assert training_seconds(RESULTS, tmp_path) == 12.5
    resumed = {**RESULTS, "resumed_at": 300}
    assert training_seconds(resumed, tmp_path) is None
    # The first line of a start has no rate when its call was the first.
    rates = {100: None, 200: 10.0, 300: 5.0, 400: 20.0}
    lines = [{"iteration": at, **({"iterations_per_second": rate} if rate else {})} for at, rate in rates.items()]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_seconds(resumed, tmp_path) == pytest.approx(200 / 10 + 100 / 5 + 100 / 20)
    assert training_seconds({**resumed, "iterations": 500}, tmp_path) is None, "the log ends before"


def test_the_seconds_of_one_seed_of_several(tmp_path):
    lines = [{"iteration": 400, "seed": seed, "iterations_per_second": 10.0 * seed} for seed in (1, 2)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_seconds({**RESULTS, "resumed_at": 5}, tmp_path, seed=2) == 20


def describe(workdir, **given):
    path = workdir / "results.json"
    path.write_text("{}")
    os.utime(path, (NOON, NOON))
    return describe_run(workdir, RESULTS, **given)


def test_a_run_that_launch_py_trained_says_nothing_of_where(tmp_path):
    described = describe(tmp_path)
    assert (described["hardware"], described["commit"], described["versions"]) == (["not known"], ["not known"], None)
    assert (described["seconds"], described["resumed"], described["date"]) == (12.5, False, "2026-11-23")
    assert describe(tmp_path, hardware="a laptop", commit="abc")["hardware"] == ["a laptop"]


def test_every_start_by_this_tool_is_written_down(tmp_path):
    workdir = tmp_path / "new" / "seed0"
    begin_session(workdir)
    begin_session(workdir)
    assert [session["from"] for session in read_sessions(workdir)] == [0, 0]
    described = describe(workdir, hardware="not looked at", commit="not looked at")
    assert (described["hardware"], described["commit"]) == ([describe_hardware()], [read_commit()])


def test_what_launch_py_began_is_still_not_known(tmp_path):
    (tmp_path / "checkpoints" / "300" / "state").mkdir(parents=True)
    begin_session(tmp_path)
    (session,) = read_sessions(tmp_path)
    assert session["from"] == 300
    for folder in tmp_path.glob("checkpoints/300/state"):
        folder.rmdir()
    assert describe(tmp_path)["commit"] == ["not known", read_commit()]


def test_hardware_has_a_name():
    assert jax.devices()[0].platform == "cpu"
    assert describe_hardware().startswith(f"{os.cpu_count()} cores of ")


def test_the_commit_says_whether_files_were_changed(tmp_path):
    assert read_commit(tmp_path) == "not known"
    who = ("-c", "user.name=test", "-c", "user.email=test@test")
    (tmp_path / "launch.py").write_text("one")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    commit = read_commit(tmp_path)
    assert len(commit) >= 7
    assert set(commit) <= set("0123456789abcdef")
    (tmp_path / "launch.py").write_text("two")
    assert read_commit(tmp_path) == commit + "+changes"
