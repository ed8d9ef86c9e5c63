"""Which stages run, in which order and for how long: each in a process of its own, the most important first."""

import collections
import contextlib
import functools
import importlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

from benchmarks.gpu.session import OUT_OF_TIME, append

NO_ACCELERATOR = 3  # exit status of a stage
LOG = "log.txt"
LOG_BYTES = 4 * 2**20  # of one stage; what comes back from a device machine is limited to 16 MiB a file

# What to run; the least seconds that are worth a start, the most it may take.
Stage = collections.namedtuple("Stage", "module function arguments least most")


def _stage(module, function, *arguments, least, most):
    return Stage(f"benchmarks.gpu.{module}", function, arguments, least, most)


# All needed results come first; what torch.compile does and which settings pay may need a call of their own (--stages).
STAGES = {
    "headline": _stage("stages", "headline", least=20, most=240),
    "correctness": _stage("stages", "correctness", least=50, most=120),
    "peer_cifar10": _stage("versus", "peer", "cifar10", least=40, most=100),
    "peer_mnist": _stage("versus", "peer", "mnist", least=40, most=90),
    "seeds": _stage("stages", "seeds", least=50, most=130),
    "speed": _stage("stages", "speed", least=50, most=240),
    "profile": _stage("profile", "profile", least=50, most=90),
    "peer_compiled_cifar10": _stage("versus", "peer_compiled", "cifar10", least=90, most=270),
    "peer_compiled_mnist": _stage("versus", "peer_compiled", "mnist", least=90, most=270),
    "switches": _stage("switches", "switches", least=50, most=300),
    "options": _stage("switches", "options", least=50, most=400),
}


def function_of(stage):
    """Args: stage, one of `STAGES`. Returns its function of a session; imports what it needs."""
    _, function, arguments, *_ = STAGES[stage]
    function = getattr(importlib.import_module(STAGES[stage].module), function)
    return functools.partial(_call, function, arguments)


def _call(function, arguments, session):
    function(session, *arguments)


def environment(stage, tiny, cache):
    """Variables that a stage's process needs.

    Args:
      stage: its name.
      tiny: whether all is on CPU.
      cache: folder for compiled programs, which stages share.

    Returns:
      Strings by name.
    """
    variables = {
        "PYTHONUNBUFFERED": "1",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # the peer needs memory too
    }
    if stage.startswith("peer"):
        variables["XLA_PYTHON_CLIENT_MEM_FRACTION"] = "0.45"
    if tiny:
        variables |= {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return variables


def run_process(command, seconds, variables, log):
    """Runs a process and all that it starts, and ends them when their time is up.

    Args:
      command: of the process.
      seconds: that it may take.
      variables: of the environment, in addition.
      log: an open binary file for what it writes, seekable.

    Returns:
      Exit status; None if its time was up.
    """
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **variables}, start_new_session=True
    )
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
    finally:  # the group outlives its first process if that one crashed beside a worker
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _keep(log, path, heading):
    """Appends the end of a stage's log to the log of all. Args: log, binary; path; heading."""
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - LOG_BYTES // len(STAGES)))
    text = log.read().decode(errors="replace")
    with open(path, "a") as file:
        file.write(f"===== {heading}\n{text}\n")
    return text


def run_stages(names, command_of, out, budget, tiny, cache, after=lambda: None):
    """Runs stages one after the other until the time is up.

    Args:
      names: of `STAGES`, in order.
      command_of: from a name and seconds to the command of its process.
      out: folder of results.
      budget: seconds for all.
      tiny: whether all is tiny and on CPU.
      cache: folder for compiled programs.
      after: called after every stage, for instance to write a report.

    Returns:
      Whether there was something to run on.
    """
    deadline = time.monotonic() + budget
    for name in names:
        left = deadline - time.monotonic()
        _, _, _, least, most = STAGES[name]
        if left < least and not tiny:
            error = f"{OUT_OF_TIME} ({left:.0f} s left, {least} s needed)"
            append(out, {"kind": "stage", "stage": name, "seconds": 0.0, "error": error})
            print(f"[{name}] {error}", flush=True)
            after()
            continue
        seconds, began = left if tiny else min(left, most), time.monotonic()
        with tempfile.TemporaryFile() as log:
            variables = environment(name, tiny, cache)
            # The stage sees its end a little before it comes, and has time to say what it left out.
            status = run_process(command_of(name, max(1.0, seconds - 3)), seconds, variables, log)
            took = time.monotonic() - began
            text = _keep(log, pathlib.Path(out) / LOG, f"{name}: exit status {status}, {took:.1f} s")
        error = {0: None, None: f"ended after its {seconds:.0f} s"}.get(status, f"exit status {status}: {text[-1500:]}")
        append(out, {"kind": "stage", "stage": name, "seconds": took, "error": error})
        print(f"[{name}] {took:.0f} s{'' if error is None else ', ' + error}", flush=True)
        after()
        if status == NO_ACCELERATOR:
            return False
    return True
