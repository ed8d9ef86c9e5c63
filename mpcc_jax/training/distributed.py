"""Several processes, on one host or many: finding each other, agreeing, and stopping together."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import ArrayLike

from mpcc_jax.errors import ConfigError

DEFAULT_TIMEOUT = 300
# jax ends the process with a stack trace when its own time is over, so ours has to be over first.
PATIENCE = 60


def detect(environment: Mapping[str, str]) -> str | None:
    """Returns who started this process as one of several: "SLURM", "Open MPI", "Cloud TPU" or None."""
    slurm = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
    if all(name in environment for name in slurm) and int(environment["SLURM_NTASKS"]) > 1:
        return "SLURM"
    if int(environment.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return "Open MPI"
    if importlib.util.find_spec("libtpu") and any(
        pathlib.Path(f"/dev/{name}").exists() for name in ("accel0", "vfio/0")
    ):
        return "Cloud TPU"
    return None


def connect(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    timeout: int = DEFAULT_TIMEOUT,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Joins the other processes of a run, before jax is used for anything else. Alone, it does nothing.

    What is None is found out from SLURM, Open MPI or Cloud TPU. If the others do not come within `timeout` seconds, the
    process ends with one line and exit status 1, from another thread: the waiting itself cannot be interrupted.
    """
    found = detect(environment)
    given = (coordinator, num_processes, process_id)
    if found is None and given == (None, None, None):
        return
    if found is None:
        _check_flags(*given)
    if found == "Open MPI" and coordinator is None and "OMPI_MCA_orte_hnp_uri" not in environment:
        raise ConfigError(
            "this Open MPI does not say where process 0 is (version 5 no longer does). Give --coordinator=HOST:PORT, a "
            "free port of the host of rank 0."
        )
    if found == "Open MPI":
        num_processes = int(environment["OMPI_COMM_WORLD_SIZE"]) if num_processes is None else num_processes
        process_id = int(environment["OMPI_COMM_WORLD_RANK"]) if process_id is None else process_id
    # With everything given, jax should not look for a cluster (and warn that it could not ask Kubernetes).
    detection = "deactivate" if found is None else None
    who = "" if process_id is None else f"process {process_id} of {num_processes}: "
    where = coordinator or f"the coordinator that {found} names"

    def give_up():
        print(
            f"error: {who}not all processes met at {where} within {timeout} seconds. Check that process 0 runs there, "
            "that the port is open, that as many processes were started as --num_processes says, and perhaps raise "
            "--coordinator_timeout.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)

    watchdog = threading.Timer(timeout, give_up)
    watchdog.daemon = True
    watchdog.start()
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            cluster_detection_method=detection,
            initialization_timeout=timeout + PATIENCE,
        )
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{who}cannot join the other processes at {where} ({error}).") from error
    finally:
        watchdog.cancel()


def _check_flags(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    flags = {"--coordinator": coordinator, "--num_processes": num_processes, "--process_id": process_id}
    missing = [name for name, value in flags.items() if value is None]
    if missing:
        raise ConfigError(
            f"{' and '.join(missing)} must be given with {', '.join(name for name in flags if name not in missing)}: "
            "neither SLURM nor Open MPI nor Cloud TPU started this process, so nothing can be found out."
        )
    if num_processes < 1 or not 0 <= process_id < num_processes:
        raise ConfigError(
            f"--process_id is {process_id} and --num_processes {num_processes}; allowed: at least one process, and ids "
            "from 0 up to, not including, their number."
        )
    if not coordinator.rpartition(":")[0] or not coordinator.rpartition(":")[2].isdigit():
        raise ConfigError(f"--coordinator is {coordinator!r}; allowed: HOST:PORT, where process 0 listens.")


def is_writer() -> bool:
    """Whether this process writes the files of the run: process 0 does."""
    return jax.process_index() == 0


def wait_for_all(name: str) -> None:
    """Returns when every process has come to the place of this name."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def from_writer(values: ArrayLike) -> ArrayLike:
    """Returns process 0's number or array on all processes."""
    if jax.process_count() == 1:
        return values
    received = multihost_utils.broadcast_one_to_all(np.asarray(values))
    return received if received.ndim else received.item()  # JSON holds no arrays


def check_agreement(prefix: str, facts: Mapping[str, Any]) -> None:
    """Checks that all processes have the same flat dictionary of what JSON can hold; the error names what differs."""
    if jax.process_count() == 1:
        return
    text = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.int32(len(text)))
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
    first, *others = (json.loads(bytes(row[:length])) for row, length in zip(texts, lengths, strict=True))
    differences = [
        f"{prefix}{name} is {first.get(name)!r} on process 0 and {other.get(name)!r} on process {process}"
        for process, other in enumerate(others, 1)
        for name in {**first, **other}
        if first.get(name) != other.get(name)
    ]
    if differences:
        raise ConfigError(f"the processes were not started alike: {'; '.join(differences)}.")


@contextlib.contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """While it is open, SIGTERM asks the run to stop: on whichever process it arrives, all stop after the same call.

    Yields a function that tells whether to stop, to be asked once after every call by all processes.
    """
    if jax.process_count() == 1:
        with catch_sigterm() as requested:
            yield requested
        return
    state = {"calls": 0, "stop": False}

    def requested():
        state["calls"] += 1
        # jax has its own handler of SIGTERM, which tells the others and agrees with them on a call to stop after.
        state["stop"] = state["stop"] or multihost_utils.reached_preemption_sync_point(state["calls"])
        return state["stop"]

    yield requested


@contextlib.contextmanager
def catch_sigterm() -> Iterator[Callable[[], bool]]:
    """While it is open, SIGTERM only sets a flag. Outside of the main thread, signals are left alone."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: requested.set())
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
