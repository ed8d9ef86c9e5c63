"""Where a run was trained: hardware, commit, versions, hours; and that this is not known of a run that does not say."""

import datetime
import json
import os
import pathlib
import platform
import subprocess

import jax
import numpy as np

from mpcc_jax.report.gather import read_history
from mpcc_jax.training.checkpoints import find_checkpoints
from mpcc_jax.workdir import write_json

SESSIONS = "sessions.json"
NOT_KNOWN = "not known"
ROOT = pathlib.Path(__file__).parents[2]
SOURCES = ("mpcc_jax", "configs", "launch.py")


def processor_name():
    """Returns the name of the processor, as the system knows it."""
    facts = pathlib.Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def describe_hardware():
    """What this process computes on.

    Returns:
      Text: how many accelerators of which kind, or cores of which processor.
    """
    devices = jax.devices()
    if devices[0].platform != "cpu":
        return f"{len(devices)} x {devices[0].device_kind}"
    return f"{os.cpu_count()} cores of {processor_name()}"


def read_commit(root=ROOT):
    """The commit that this program is at.

    Args:
      root: of the checkout.

    Returns:
      The first digits of the commit, with "+changes" where files differ from it; "not known" outside of a checkout.
    """

    def git(*arguments):
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        commit = git("rev-parse", "--short", "HEAD").strip()
        return commit + ("+changes" if git("status", "--porcelain", "--", *SOURCES).strip() else "")
    except (OSError, subprocess.CalledProcessError):
        return NOT_KNOWN


def read_sessions(workdir):
    """Where and with what the parts of a run were trained.

    Args:
      workdir: `pathlib.Path`.

    Returns:
      A list of dictionaries; empty of a run that was not started by this tool.
    """
    path = workdir / SESSIONS
    return json.loads(path.read_text()) if path.exists() else []


def begin_session(workdir):
    """Writes down where training begins or goes on.

    Args:
      workdir: `pathlib.Path`; made if missing.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    session = {"from": max(find_checkpoints(workdir), default=0), "hardware": describe_hardware()}
    write_json(workdir / SESSIONS, [*read_sessions(workdir), {**session, "commit": read_commit()}])


def _read_versions(workdir):
    """Of the packages, as the newest checkpoint says; None without one."""
    import orbax.checkpoint as ocp

    found = find_checkpoints(workdir)
    if not found:
        return None
    folder = (found[max(found)] / "facts").absolute()
    return ocp.JsonCheckpointHandler().restore(folder, args=ocp.args.JsonRestore())["versions"]


def training_seconds(results, workdir, seed=None):
    """How long a run trained, over all of its starts.

    Args:
      results: of the run.
      workdir: `pathlib.Path`.
      seed: which run, if several were trained at once.

    Returns:
      Seconds; compilation included if it was started once, otherwise the intervals of its log. None if neither tells.
    """
    if not results["resumed_at"]:
        return results["training_seconds"]
    rates = read_history(workdir / "metrics.jsonl", seed).get("iterations_per_second")
    if rates is None or rates[0][-1] != results["iterations"]:
        return None
    return float(np.sum(np.diff(rates[0], prepend=0) / rates[1]))


def describe_run(workdir, results, seed=None, hardware=None, commit=None):
    """What a figure of a run has to be read with.

    Args:
      workdir: `pathlib.Path` of a finished run.
      results: of the run.
      seed: which run, if several were trained at once.
      hardware, commit: texts for a run that does not say where it was trained; None is not known.

    Returns:
      A dictionary that JSON can hold.
    """
    sessions = read_sessions(workdir)
    # What was trained before the first session was not trained by this tool.
    known = bool(sessions) and sessions[0]["from"] == 0
    given = {"hardware": hardware, "commit": commit}
    said = {
        name: [*dict.fromkeys(([] if known else [text or NOT_KNOWN]) + [session[name] for session in sessions])]
        for name, text in given.items()
    }
    finished = (workdir / "results.json").stat().st_mtime
    return {
        **said,
        "versions": _read_versions(workdir),
        "seconds": training_seconds(results, workdir, seed),
        "resumed": bool(results["resumed_at"]),
        "seeds_at_once": results.get("num_seeds", 1),
        "date": datetime.date.fromtimestamp(finished).isoformat(),
    }
