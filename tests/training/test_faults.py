"""Kills and full disks in every stage of saving a checkpoint: the run goes on, and ends as if nothing had been.

FAULT_ROUNDS=20 (`make test-faults`) adds so many rounds of faults at random.
"""

import os
import random
import re
import shutil
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.processes import ENVIRONMENT, TINY, read_checkpoint

SETTINGS = {**TINY, "training.iterations": 4, "checkpoints.every": 2, "checkpoints.keep_last": 1}
ROUNDS = int(os.environ.get("FAULT_ROUNDS", "0"))


def train(workdir, kind="none", number=0, iterations=4):
    flags = [f"--config.{name}={value}" for name, value in {**SETTINGS, "training.iterations": iterations}.items()]
    command = [sys.executable, "-m", "tests.faults", kind, str(number), "train", "digits", "--workdir", str(workdir)]
    return subprocess.run([*command, *flags], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)


def changes(output):
    """What was changed below checkpoints/, in order."""
    return re.findall(r"^change \d+: (.*)", output, re.M)


def complete(workdir):
    return sorted(path.name for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The folders of a run of two iterations and of the same after four, and the changes of the save at its end."""
    begun = tmp_path_factory.mktemp("faults") / "begun"
    assert train(begun, iterations=2).returncode == 0
    whole = shutil.copytree(begun, begun.with_name("whole"))
    run = train(whole)
    assert run.returncode == 0, run.stderr
    return begun, whole, changes(run.stderr)


def endure(workdir, kind, number):
    """One start with a fault; what was saved before is there, and what was being saved is absent."""
    run = train(workdir, kind, number)
    if kind == "kill":
        assert run.returncode == -signal.SIGKILL, run.stderr
    else:
        assert run.returncode == 3, run.stderr
        assert re.search(r"^error: a checkpoint could not be written in .*No space left on device", run.stderr, re.M)
    assert complete(workdir) == ["2"]


def finish(workdir, undisturbed):
    moved = workdir.with_name("moved")
    workdir.rename(moved)
    run = train(moved, "clock")
    assert run.returncode == 0, run.stderr
    (iteration, state), (_, expected) = read_checkpoint(moved), read_checkpoint(undisturbed)
    assert iteration == 4
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    assert complete(moved) == ["4"]
    assert [path.name for path in (moved / "checkpoints").iterdir()] == ["4"], "nothing half-written is left"


def stages(found):
    """The number of the first change of every stage: the beginning, the files, an item's end, the last name."""
    names = ("4.orbax-checkpoint-tmp", ".*/array_metadatas/process_0", "os.rename .*/.*", "os.rename [^/]*")
    return [next(i for i, change in enumerate(found) if re.search(f"{name}$", change)) + 1 for name in names]


def test_a_fault_in_each_stage_of_saving_costs_no_more_than_the_iterations_since(undisturbed, tmp_path):
    begun, whole, found = undisturbed
    workdir = shutil.copytree(begun, tmp_path / "run")
    for kind, number in zip(("kill", "full", "kill", "kill"), stages(found), strict=True):
        endure(workdir, kind, number)
    finish(workdir, whole)


@pytest.mark.skipif(not ROUNDS, reason="FAULT_ROUNDS is not set")
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_faults_at_random(undisturbed, seed, tmp_path):
    (begun, whole, found), rng = undisturbed, random.Random(seed)
    workdir = shutil.copytree(begun, tmp_path / "run")
    for _ in range(2):
        endure(workdir, rng.choice(["kill", "kill", "full"]), rng.randrange(1, stages(found)[-1] + 1))
    finish(workdir, whole)
