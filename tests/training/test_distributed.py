"""Two real processes on this machine: the training of one, its checkpoint, and what keeps them apart."""

import json
import signal
import socket
import time

import jax
import numpy as np
import pytest

from mpcc_jax.errors import ConfigError
from mpcc_jax.training import distributed
from mpcc_jax.training.distributed import check_agreement, connect, detect
from tests.conftest import assert_trees_close
from tests.processes import TINY, finish, launch, read_checkpoint, start

SETTINGS = {**TINY, "training.iterations": 2, "training.precision": "float64"}
OVERRIDES = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
# So that rounding cannot grow into the +-lr steps of Adam with beta1 = 0.
DOUBLE = {"JAX_ENABLE_X64": "1"}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start_two_by_slurm(*arguments):
    """Two processes that SLURM would have started: jax finds out the rest."""
    job = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2"}
    ids = [{"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)} for number in range(2)]
    return [start(*arguments, **DOUBLE, **job, **variables) for variables in ids]


def test_two_processes_train_what_one_does(tmp_path):
    """Two, streaming, until SIGTERM reaches the second: what they save is what one alone has then."""
    endless = ["--config.training.iterations=100000", "--config.data.placement=stream"]
    processes = start_two_by_slurm("--workdir", str(tmp_path / "two"), *OVERRIDES, *endless)
    log, deadline = tmp_path / "two" / "metrics.jsonl", time.monotonic() + 900
    while not log.exists() or '"iteration": 4' not in log.read_text():
        assert time.monotonic() < deadline
        assert processes[0].poll() is None, finish(processes[0]).stderr
        time.sleep(0.02)
    processes[1].send_signal(signal.SIGTERM)
    first, second = (finish(process) for process in processes)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "2 processes" in first.stdout
    assert "stopped by SIGTERM after" in first.stdout
    # The second one writes nothing of its own; gloo greets.
    assert all(line.startswith("[Gloo]") for line in second.stdout.splitlines())
    reached, _ = read_checkpoint(tmp_path / "two")
    alone = launch("--workdir", str(tmp_path / "one"), *OVERRIDES, f"--config.training.iterations={reached}", **DOUBLE)
    assert alone.returncode == 0, alone.stderr
    (_, tree), (iteration, expected) = (read_checkpoint(tmp_path / name) for name in ("two", "one"))
    assert iteration == reached
    assert_trees_close(tree, expected, rtol=1e-6, atol=1e-9)


def test_processes_that_disagree_are_told_what_differs(monkeypatch):
    """The texts of two processes, as the real gathering returns them."""
    facts = [{"seed": 0, "training.batch_size": 8}, {"seed": 3, "training.batch_size": 16}]
    texts = [np.frombuffer(json.dumps(fact).encode(), np.uint8) for fact in facts]
    longest = max(map(len, texts))

    def gather(array):
        if array.ndim == 0:
            return np.asarray([len(text) for text in texts])
        return np.stack([np.pad(text, (0, longest - len(text))) for text in texts])

    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(distributed.multihost_utils, "process_allgather", gather)
    message = "config.seed is 0 on process 0 and 3 on process 1; config.training.batch_size is 8 on process 0 and 16"
    with pytest.raises(ConfigError, match=message):
        check_agreement("config.", facts[0])


def test_a_coordinator_that_cannot_be_reached(tmp_path):
    flags = ["--coordinator=127.0.0.1:1", "--num_processes=2", "--process_id=1", "--coordinator_timeout=2"]
    run = launch("--workdir", str(tmp_path / "run"), *flags)
    assert run.returncode == 1
    assert "process 1 of 2: not all processes met at 127.0.0.1:1 within 2 seconds" in run.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (("host:1", None, None), {}, "--num_processes and --process_id must be given with --coordinator"),
        (("host:1", 2, 2), {}, "--process_id is 2 and --num_processes 2; allowed"),
        (("host", 2, 0), {}, "--coordinator is 'host'; allowed: HOST:PORT"),
        (
            (None, None, None),
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1"},
            "Give --coordinator=HOST:PORT",
        ),
    ],
)
def test_flags_that_cannot_be(arguments, environment, message):
    with pytest.raises(ConfigError, match=message):
        connect(*arguments, environment=environment)


def test_who_started_a_process():
    slurm = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert detect({**slurm, "SLURM_NTASKS": "2"}) == "SLURM"
    assert detect({**slurm, "SLURM_NTASKS": "1"}) is None
    assert detect({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}) is None, "a batch script, not a step"
    assert detect({"OMPI_COMM_WORLD_SIZE": "4"}) == "Open MPI"
    assert detect({}) is None
    connect(environment={})
