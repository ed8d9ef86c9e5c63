"""On the CPU, with a fake peer: torch may be missing."""

import json
import sys
import time

import jax
import numpy as np
import pytest

from benchmarks import throughput
from benchmarks.flops import count_flop
from benchmarks.ours import read_config
from benchmarks.peer.pipe import Worker
from tests.conftest import ROOT

PEER = """
from benchmarks.peer.pipe import serve
serve(lambda settings: ({"ready": settings}, lambda iterations: 0.01 * iterations))
"""


@pytest.fixture
def run_main(monkeypatch, tmp_path):
    def run(*arguments):
        path = tmp_path / "folder" / "throughput.json"
        monkeypatch.setattr(sys, "argv", ["throughput", "--tiny", "--seconds=0.1", f"--out={path}", *arguments])
        throughput.main()
        return json.loads(path.read_text())

    return run


def start_fake_peer(config, image_channels, variant, python, patience):
    return Worker([sys.executable, "-c", PEER], variant, {"PYTHONPATH": str(ROOT)}, patience)


def test_a_combination_is_timed_beside_the_peer(run_main, monkeypatch):
    monkeypatch.setattr(throughput, "start_peer", start_fake_peer)
    options = ("--configs=digits", "--precisions=float32", "--num_seeds=1", "--peer", "--peer_python=python")
    written = run_main(*options)
    (result,) = written["results"]
    rates = result["iterations_per_second"]
    assert 0 < rates["min"] <= rates["median"] <= rates["max"]
    assert result["finite"]
    assert result["flop"] == count_flop(read_config("digits", tiny=True), 1)
    expected = result["flop"]["published"] * rates["median"] / written["peaks"]["float32"]["flop_rate"]
    np.testing.assert_allclose(result["utilisation"]["published"], expected)
    np.testing.assert_allclose(result["peer"]["peer"], 100.0)
    assert result["peer"]["facts"] == {"ready": "channels_last"}
    np.testing.assert_allclose(result["peer"]["median_ratio"], np.median(result["peer"]["ours"]) / 100)


def test_what_does_not_fit_is_recorded_and_the_others_go_on(run_main, monkeypatch):
    messages = iter(["RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.", "INTERNAL: no algorithm"])

    def fail(*_):
        raise jax.errors.JaxRuntimeError(next(messages))

    monkeypatch.setattr(throughput, "compile_run", fail)
    results = run_main("--configs=digits", "--precisions=float32,bfloat16", "--num_seeds=8")["results"]
    assert [(result["precision"], result["num_seeds"], result["error"]) for result in results] == [
        ("float32", 8, "out of memory"),
        ("bfloat16", 8, "failed"),
    ]


def test_nothing_begins_after_the_deadline(run_main):
    results = run_main("--minutes=0", "--configs=digits", "--num_seeds=1,8")["results"]
    assert [result["num_seeds"] for result in results] == [1, 1, 1, 8, 8, 8]
    assert {result["error"] for result in results} == {"skipped: out of time"}


def test_the_time_is_divided_among_what_is_left(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    budget = throughput.Budget(100.0, combinations=3)
    assert budget.admits()
    clock[0] = 20.0
    # 80 s are left, of which the two others need 40 to be compiled.
    assert budget.timing_seconds(setup=20.0, most=60.0) == pytest.approx(40 / 3)
    assert budget.timing_seconds(setup=20.0, most=5.0) == 5.0
    clock[0] = 77.0
    assert not budget.admits()


def test_the_peer_needs_torch(run_main, monkeypatch, capsys):
    monkeypatch.setattr(throughput.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        run_main("--peer")
    assert "--peer needs torch" in capsys.readouterr().err
