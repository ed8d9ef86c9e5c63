import sys

import pytest

from benchmarks.peer.pipe import Worker, WorkerError
from tests.conftest import ROOT

SCRIPT = """
from benchmarks.peer.pipe import serve
def prepare(settings):
    print("a library that talks")
    return {"doubled": 2 * settings}, lambda iterations: 1.5 * iterations
serve(prepare)
"""


def test_a_worker_answers_and_ends():
    with Worker([sys.executable, "-c", SCRIPT], 21, {"PYTHONPATH": str(ROOT)}) as worker:
        assert worker.facts == {"doubled": 42}
        assert worker.run(4) == 1.5
    assert worker._process.returncode == 0


def test_a_worker_that_fails_says_why():
    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        Worker([sys.executable, "-c", "1 / 0"], {})


def test_a_worker_that_gives_no_answer_is_ended():
    with pytest.raises(WorkerError, match="ended with -9, perhaps after its 1 s"):
        Worker([sys.executable, "-c", "import time; time.sleep(100)"], {}, patience=1)
