"""A run that is killed ends with the parameters of the run that was not."""

import json
import random
import signal
import time

import jax
import numpy as np

from tests.processes import TINY, finish, launch, read_checkpoint, start

SETTINGS = {
    **TINY,
    "training.iterations": 40,
    "checkpoints.every": 10,
    "checkpoints.keep_last": 2,
    "variant": "extended",
}
OVERRIDES = [f"--config.{name}={value}" for name, value in SETTINGS.items()]


def logged(workdir):
    """The iterations in the log, of which the last line may be half written."""
    path = workdir / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line)["iteration"] for line in lines if line.endswith("\n")]


def test_a_kill_changes_nothing_in_the_end(tmp_path):
    workdir, reached = tmp_path / "interrupted", random.Random().randrange(12, 30)
    process = start("--workdir", str(workdir), *OVERRIDES)
    deadline = time.monotonic() + 900
    saved = workdir / "checkpoints"
    while process.poll() is None and (max(logged(workdir), default=0) < reached or not list(saved.glob("[0-9]?"))):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    assert finish(process).returncode == -signal.SIGKILL
    last = launch("--workdir", str(workdir), *OVERRIDES)
    assert last.returncode == 0, last.stderr
    assert "resumed" in last.stdout
    whole = launch("--workdir", str(tmp_path / "whole"), *OVERRIDES)
    assert whole.returncode == 0, whole.stderr
    (iteration, resumed), (_, expected) = read_checkpoint(workdir), read_checkpoint(tmp_path / "whole")
    assert iteration == 40
    jax.tree.map(np.testing.assert_array_equal, resumed, expected)
    assert logged(workdir) == logged(tmp_path / "whole") == list(range(2, 41, 2))
