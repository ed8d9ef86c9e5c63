"""Stages run in order, each in a process of its own, and never longer than they may."""

import importlib
import os
import sys
import time

import pytest

from benchmarks.gpu.plan import LOG, NO_ACCELERATOR, STAGES, Stage, environment, function_of, run_process, run_stages
from benchmarks.gpu.session import read


@pytest.fixture
def scripts(monkeypatch):
    """Stages that are Python commands."""
    made = {}

    def define(name, script, least=0, most=20):
        made[name] = script
        monkeypatch.setitem(STAGES, name, Stage("", "", (), least, most))

    def command_of(name, seconds):
        return [sys.executable, "-c", made[name].replace("SECONDS", str(seconds))]

    return define, command_of


def run(tmp_path, scripts, names, budget=60):
    return run_stages(names, scripts[1], tmp_path, budget, False, tmp_path / "cache")


def test_a_stage_that_crashes_or_hangs_does_not_stop_the_others(tmp_path, scripts):
    define, _ = scripts
    define("crashes", "import os; print('before', flush=True); os.kill(os.getpid(), 11)")
    define("hangs", "import time; time.sleep(100)", most=2)
    define("works", "print('fine')")
    assert run(tmp_path, scripts, ["crashes", "hangs", "works"])
    crashed, hung, worked = read(tmp_path)
    assert crashed["error"] == "exit status -11: before\n"
    assert hung["error"] == "ended after its 2 s"
    assert 2 <= hung["seconds"] < 10
    assert worked["error"] is None
    assert "===== works: exit status 0" in (tmp_path / LOG).read_text()


def test_what_does_not_fit_is_said(tmp_path, scripts):
    define, _ = scripts
    define("long", "pass", least=30)
    define("short", "print('had SECONDS')", least=5, most=8)
    after = []
    assert run_stages(["long", "short"], scripts[1], tmp_path, 20, False, tmp_path, lambda: after.append(1))
    long, short = read(tmp_path)
    assert long["error"].startswith("not run: out of time (20 s left")
    assert short["error"] is None
    assert "had 5\n" in (tmp_path / LOG).read_text()
    assert after == [1, 1]


def test_without_a_gpu_it_ends_at_once(tmp_path, scripts):
    define, _ = scripts
    define("first", f"import sys; sys.exit({NO_ACCELERATOR})")
    define("second", "pass")
    assert not run(tmp_path, scripts, ["first", "second"])
    assert [record["stage"] for record in read(tmp_path)] == ["first"]


def test_what_a_stage_started_ends_with_it(tmp_path):
    script = (
        "import subprocess, sys, time; "
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(100)']); "
        "print(child.pid, flush=True); time.sleep(100)"
    )
    path = tmp_path / "log"
    with open(path, "wb") as log:
        assert run_process([sys.executable, "-c", script], 2, {}, log) is None
    pid, end = int(path.read_text()), time.monotonic() + 5

    def running():  # one that was ended and has no parent left may wait to be collected
        try:
            with open(f"/proc/{pid}/stat") as file:
                return file.read().rpartition(")")[2].split()[0] != "Z"
        except FileNotFoundError:
            return False

    while running() and time.monotonic() < end:
        time.sleep(0.05)
    assert not running()


def test_variables_reach_the_process(tmp_path):
    path = tmp_path / "log"
    with open(path, "wb") as log:
        script = "import os; print(os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'], os.environ['PATH'])"
        assert run_process([sys.executable, "-c", script], 20, environment("speed", False, tmp_path), log) == 0
    assert path.read_text() == f"false {os.environ['PATH']}\n"
    assert "XLA_PYTHON_CLIENT_MEM_FRACTION" in environment("peer_mnist", False, tmp_path)
    assert "JAX_PLATFORMS" not in environment("speed", False, tmp_path)
    assert environment("speed", True, tmp_path)["JAX_PLATFORMS"] == "cpu"


def test_all_stages_exist():
    for name, stage in STAGES.items():
        assert callable(getattr(importlib.import_module(stage.module), stage.function))
        assert callable(function_of(name))
        assert 0 < stage.least < stage.most
    assert next(iter(STAGES)) == "headline"
