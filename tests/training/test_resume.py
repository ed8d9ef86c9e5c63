"""A run that is killed, pre-empted and killed again ends with the parameters of the run that was not."""

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
    "training.iterations": 120,
    "training.iterations_per_call": 2,
    "checkpoints.every": 10,
    "checkpoints.keep_last": 2,
    "logging.every": 2,
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
    whole = launch("--workdir", str(tmp_path / "whole"), *OVERRIDES)
    assert whole.returncode == 0, whole.stderr

    workdir, rng = tmp_path / "interrupted", random.Random()
    for number, which in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)):
        reached = 20 * number + rng.randrange(14, 26)
        run = interrupt(workdir, reached, which)
        if which is signal.SIGTERM:
            assert run.returncode == 0, run.stderr
            assert "stopped by SIGTERM after" in run.stdout
            assert read_checkpoint(workdir)[0] >= reached
        else:
            assert run.returncode == -signal.SIGKILL
    last = launch("--workdir", str(workdir), *OVERRIDES)
    assert last.returncode == 0, last.stderr
    assert "resumed" in last.stdout

    (iteration, resumed), (_, expected) = read_checkpoint(workdir), read_checkpoint(tmp_path / "whole")
    assert iteration == 120
    jax.tree.map(np.testing.assert_array_equal, resumed, expected)
    assert logged(workdir) == logged(tmp_path / "whole") == list(range(2, 121, 2))

    # A finished run is only scored again; another configuration is refused.
    refused = launch("--workdir", str(workdir), *OVERRIDES, "--config.seed=5")
    assert refused.returncode == 1
    assert "config.seed was 0 and is 5" in refused.stderr
