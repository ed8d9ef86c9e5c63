"""The program in processes of its own, with the compilation cache of the tests."""

import os
import subprocess
import sys

import jax
import numpy as np

from tests.conftest import ROOT

ENVIRONMENT = {
    **os.environ,
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "MPCC_JAX_CACHE": str(ROOT / ".cache" / "data"),
    "COLUMNS": "120",
}


# A tiny network on the digits; plain forms of its layers compile sooner than the rewritten ones.
TINY = {
    "model.channels": 1,
    "training.batch_size": 8,
    "training.iterations_per_call": 2,
    "logging.every": 2,
    "logging.tensorboard": False,
    "evaluation.samples_per_cluster": 2,
    "evaluation.standing_passes": 1,
    "evaluation.num_images": 100,
    **dict.fromkeys(("speed.shortcut_first", "speed.pool_first", "speed.subpixel"), False),
}


def start(*arguments, **environment):
    """Starts launch.py on the digits; what it prints can be read from it."""
    command = [sys.executable, "launch.py", "--config", "configs/digits.py", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=ROOT, env={**ENVIRONMENT, **environment}, text=True, **pipes)


def finish(process, timeout=1200):
    """Waits for a process."""
    with process:
        output, errors = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def launch(*arguments, **environment):
    """Runs launch.py on the digits to its end."""
    return finish(start(*arguments, **environment))


def read_checkpoint(workdir):
    """The newest checkpoint of a run: its iteration, and its arrays in NumPy."""
    import orbax.checkpoint as ocp

    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    with ocp.PyTreeCheckpointer() as checkpointer:
        folder = (newest / "state").absolute()
        tree = checkpointer.metadata(folder).item_metadata.tree
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return int(newest.name), checkpointer.restore(folder, restore_args=kinds)
