"""What a run of several processes does when one of them is in trouble: python -m tests.training.hostile_hosts ROUNDS.

Prints a row of the table in docs/pods.md for each round. The processes are real and on this machine; a round takes
about eight minutes, most of them waiting until a process that was killed is missed.
"""

import pathlib
import shutil
import signal
import sys
import tempfile
import time

import numpy as np
from PIL import Image

from mpcc_jax.training.checkpoints import find_checkpoints
from tests.conftest import assert_trees_close
from tests.processes import TINY, finish, read_checkpoint, start
from tests.training.test_distributed import free_port

FLAGS = [f"--config.{name}={value}" for name, value in {**TINY, "checkpoints.every": 4}.items()]
FLAGS += ["--config.training.precision=float64"]
DOUBLE = {"JAX_ENABLE_X64": "1"}  # so that rounding cannot grow into the steps of Adam


def begin(workdir, count, iterations, *flags, port=None, only=None, homes=None):
    """Starts the processes of a run, or those whose numbers are in `only`; each may have a home of its own."""
    shared = ["--workdir", str(workdir), *FLAGS, *flags, f"--config.training.iterations={iterations}"]
    if count == 1:
        return [start(*shared, **DOUBLE)]
    shared += [f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}"]
    homes = homes or [pathlib.Path.home()] * count
    return [start(*shared, f"--process_id={i}", HOME=str(homes[i]), **DOUBLE) for i in only or range(count)]


def wait_for(workdir, iteration, processes):
    """Waits until a run has logged an iteration."""
    log, deadline = workdir / "metrics.jsonl", time.monotonic() + 900
    while not log.exists() or f'"iteration": {iteration}' not in log.read_text():
        assert time.monotonic() < deadline
        assert all(process.poll() is None for process in processes), [finish(process).stderr for process in processes]
        time.sleep(0.05)


def message(run):
    """The line of what a process printed last that says what is wrong."""
    return next(line for line in run.stderr.splitlines() if line.startswith("error:"))


def killed(folder, port, count):
    """The last of `count` processes is killed; the run goes on with one."""
    processes = begin(folder, count, 100_000, port=port)
    wait_for(folder, 8, processes)
    processes[-1].kill()
    since = time.monotonic()
    runs = [finish(process) for process in processes]
    seconds = time.monotonic() - since
    reached = max(find_checkpoints(folder))
    (alone,) = (finish(process) for process in begin(folder, 1, reached + 4))
    assert alone.returncode == 0, alone.stderr
    assert all(run.returncode for run in runs)
    assert "Perhaps another process has ended" in message(runs[0])
    assert read_checkpoint(folder)[0] == reached + 4
    codes = sorted({run.returncode for run in runs[:-1]})
    return f"the others end after {seconds:.0f} s with {codes}; one process goes on from {reached}"


def slow(folder, port):
    """The second of two stands still for twenty seconds."""
    processes = begin(folder, 2, 16, port=port)
    wait_for(folder, 4, processes)
    processes[1].send_signal(signal.SIGSTOP)
    time.sleep(20)
    processes[1].send_signal(signal.SIGCONT)
    runs = [finish(process) for process in processes]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    (alone,) = (finish(process) for process in begin(folder.with_name("alone"), 1, 16))
    assert alone.returncode == 0, alone.stderr
    assert_trees_close(read_checkpoint(folder)[1], read_checkpoint(folder.with_name("alone"))[1], rtol=1e-6, atol=1e-9)
    return "the others wait, and the result is that of one process alone"


def late(folder, port):
    """The second of two starts a minute after the first."""
    processes = begin(folder, 2, 4, port=port, only=[0])
    time.sleep(60)
    processes += begin(folder, 2, 4, port=port, only=[1])
    runs = [finish(process) for process in processes]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr
    return "the first waits; both end well"


def other_data(folder, port):
    """The second of two has other pictures in the folder of the same name."""
    rng = np.random.default_rng(0)
    for home in ("a", "b"):
        (folder / home / "pictures").mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(folder / home / "pictures" / f"{number}.png")
    homes, since = [folder / "a", folder / "b"], time.monotonic()
    processes = begin(folder / "run", 2, 4, "--config.data.name=folder:~/pictures", port=port, homes=homes)
    runs = [finish(process) for process in processes]
    seconds = time.monotonic() - since
    assert [run.returncode for run in runs] == [1, 1], runs[0].stderr
    assert not (folder / "run" / "checkpoints").exists()
    return f"all end after {seconds:.0f} s with [1]: {message(runs[0])}"


def other_counts(folder, port):
    """A checkpoint of four processes is read by one, two and eight."""
    runs = [finish(process) for process in begin(folder, 4, 4, port=port)]
    assert all(run.returncode == 0 for run in runs), runs[0].stderr
    trees = {}
    for count in (1, 2, 8):
        copy = folder.with_name(f"read_by_{count}")
        shutil.copytree(folder, copy)
        runs = [finish(process) for process in begin(copy, count, 6, port=free_port())]
        assert all(run.returncode == 0 for run in runs), runs[0].stderr
        iteration, trees[count] = read_checkpoint(copy)
        assert iteration == 6
    for count in (2, 8):
        assert_trees_close(trees[count], trees[1], rtol=1e-6, atol=1e-9)
    return "all go on, to the same state"


SCENARIOS = {
    "one of two is killed": lambda folder, port: killed(folder, port, 2),
    "one of four is killed": lambda folder, port: killed(folder, port, 4),
    "one of two stands still for 20 s": slow,
    "one of two starts a minute late": late,
    "one of two has other data": other_data,
    "a checkpoint of four, read by one, two and eight": other_counts,
}


def main(rounds: int) -> None:
    """Runs every scenario so many times."""
    for number in range(rounds):
        for name, scenario in SCENARIOS.items():
            with tempfile.TemporaryDirectory() as folder:
                print(f"| {name} | {number + 1} | {scenario(pathlib.Path(folder) / 'run', free_port())} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
