"""A run that is killed and pre-empted ends with the parameters of the run that was not."""

import json
import random
import signal
import time

import jax
import numpy as np

from tests.processes import finish, launch, read_checkpoint, start

SETTINGS = {
    "model.channels": 1,
    "training.batch_size": 8,
    "training.iterations": 80,
    "training.iterations_per_call": 2,
    "checkpoints.every": 10,
    "checkpoints.keep_last": 2,
    "logging.every": 2,
    "logging.tensorboard": False,
    "evaluation.standing_passes": 1,
    "evaluation.samples_per_cluster": 2,
    "evaluation.num_images": 100,
}
OVERRIDES = [f"--config.{name}={value}" for name, value in SETTINGS.items()]


def logged(workdir):
    """The iterations in the log, of which the last line may be half written."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["iteration"] for line in lines if line.endswith("\n")]


def interrupt(workdir, iteration, which):
    """Starts a run and sends it a signal once it has logged an iteration."""
    process = start("--workdir", str(workdir), *OVERRIDES)
    deadline = time.monotonic() + 900
    while process.poll() is None and max(logged(workdir), default=0) < iteration:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(which)
    return finish(process)


def test_signals_change_nothing_in_the_end(tmp_path):
    workdir, rng = tmp_path / "interrupted", random.Random()
    killed = interrupt(workdir, rng.randrange(14, 26), signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    reached = 20 + rng.randrange(14, 26)
    stopped = interrupt(workdir, reached, signal.SIGTERM)
    assert stopped.returncode == 0, stopped.stderr
    assert "stopped by SIGTERM after" in stopped.stdout
    assert read_checkpoint(workdir)[0] >= reached
    last = launch("--workdir", str(workdir), *OVERRIDES)
    assert last.returncode == 0, last.stderr
    assert "resumed" in last.stdout
    # After the others, which have compiled what it runs.
    whole = launch("--workdir", str(tmp_path / "whole"), *OVERRIDES)
    assert whole.returncode == 0, whole.stderr
    (iteration, resumed), (_, expected) = read_checkpoint(workdir), read_checkpoint(tmp_path / "whole")
    assert iteration == 80
    jax.tree.map(np.testing.assert_array_equal, resumed, expected)
    assert logged(workdir) == logged(tmp_path / "whole") == list(range(2, 81, 2))
