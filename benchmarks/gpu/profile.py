"""Where the time on the device goes: a trace of some iterations, by kernel and by kind of kernel."""

import collections
import gzip
import json
import pathlib
import re
import tempfile

import jax

from benchmarks.gpu.stages import COMPILE_SECONDS, FASTEST, prepare

NAMES = ("cifar10", "mnist")
ITERATIONS = 3  # at least
TOP = 25

# The first pattern that is found in a kernel's name, as cuDNN, cuBLAS, CUTLASS, Triton and XLA write them: the kernels
# of cuDNN and CUTLASS have all kinds of words in their long names, and "convert" is none of convolution's.
KINDS = (
    ("convolution", r"fprop|dgrad|wgrad|implicit_gemm|implicit_convolve|winograd|convolution|conv2d|conv_general"),
    ("copies and transposes", r"nchwtonhwc|nhwctonchw|memcpy|memset"),
    ("matmul", r"gemm|gemv|nvjet|cutlass|cublas|splitk|matmul|(^|_)dot(_|\.|$)"),
    ("convolution", r"cudnn"),
    ("reduction", r"reduc"),
    ("copies and transposes", r"copy|transpose|concatenate|slice|gather|(^|_)pad(_|\.|$)"),
    ("elementwise fusion", r"fusion|(^|_)loop_|wrapped_|broadcast|elementwise"),
)
# Operations of the CPU's trace that contain others.
CONTAINERS = re.compile(r"^(while|call|conditional)")


def kind_of(name):
    """Args: name of a kernel. Returns its kind, "other" if it is none of `KINDS`."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name, re.IGNORECASE)), "other")


def kernels_of(trace, platform="gpu"):
    """The kernels of a trace in Chrome's format, as jax's profiler writes it.

    Args:
      trace: with "traceEvents", times in microseconds.
      platform: "gpu", what ran on the devices' streams; or "cpu", the operations there.

    Returns:
      (name, start, duration) of each.
    """
    events = trace["traceEvents"]
    names = {
        (event["name"], event["pid"], event.get("tid")): event["args"]["name"]
        for event in events
        if event.get("ph") == "M" and event["name"] in ("process_name", "thread_name")
    }
    devices = {pid for (kind, pid, _), name in names.items() if kind == "process_name" and "/device:GPU" in name}
    # A device has lanes for modules and operations too, which say the same again.
    streams = {
        (pid, tid)
        for (kind, pid, tid), name in names.items()
        if kind == "thread_name" and pid in devices and name.startswith("Stream")
    }
    complete = [event for event in events if event.get("ph") == "X"]
    if platform == "gpu":
        chosen = [event for event in complete if (event["pid"], event["tid"]) in streams]
    else:
        chosen = [
            event for event in complete if "hlo_op" in event.get("args", {}) and not CONTAINERS.match(event["name"])
        ]
    return [(event["name"], float(event["ts"]), float(event.get("dur", 0.0))) for event in chosen]


def _busy(spans):
    """The length of a union of spans. Args: spans, (start, duration). Returns it."""
    total, reached = 0.0, -float("inf")
    for start, duration in sorted(spans):
        total += max(0.0, start + duration - max(start, reached))
        reached = max(reached, start + duration)
    return total


def reduce_trace(trace, iterations, platform="gpu"):
    """A trace as tables.

    Args:
      trace, platform: as `kernels_of` takes them.
      iterations: that it shows.

    Returns:
      Milliseconds per iteration: "window" from the first kernel to the last, "busy", "by_kind" with "idle" (kernels on
      several streams at once count each); "kernels" per iteration; "top", the names with the most time, each with
      kind, share of the window, milliseconds and calls per iteration.

    Raises:
      ValueError: if the trace has no kernels.
    """
    kernels = kernels_of(trace, platform)
    if not kernels:
        lanes = sorted({event["args"]["name"] for event in trace["traceEvents"] if event.get("name") == "process_name"})
        raise ValueError(f"the trace has no kernels; its processes are {lanes}.")
    begin, end = min(start for _, start, _ in kernels), max(start + duration for _, start, duration in kernels)
    window, busy = end - begin, _busy([(start, duration) for _, start, duration in kernels])
    by_name, by_kind, counts = collections.Counter(), collections.Counter(), collections.Counter()
    for name, _, duration in kernels:
        by_name[name] += duration
        by_kind[kind_of(name)] += duration
        counts[name] += 1
    scale = 1e-3 / iterations
    return {
        "iterations": iterations,
        "window": window * scale,
        "busy": busy * scale,
        "by_kind": {**{kind: time * scale for kind, time in by_kind.most_common()}, "idle": (window - busy) * scale},
        "kernels": len(kernels) / iterations,
        "top": [
            {
                "name": name[:120],
                "kind": kind_of(name),
                "share": time / window if window else 0.0,
                "milliseconds": time * scale,
                "calls": counts[name] / iterations,
            }
            for name, time in by_name.most_common(TOP)
        ],
    }


def record_trace(run, calls):
    """Traces some calls.

    Args:
      run: the `Run`, warmed up.
      calls: how many.

    Returns:
      The trace, as `kernels_of` takes it.

    Raises:
      FileNotFoundError: if jax wrote none.
    """
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's own calls fill the trace, which holds a million events
    options.host_tracer_level = 1
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder, profiler_options=options):
            run.call(calls)
        paths = sorted(pathlib.Path(folder).rglob("*.json.gz"))
        if not paths:
            raise FileNotFoundError(f"the profiler wrote {[path.name for path in pathlib.Path(folder).rglob('*')]}.")
        with gzip.open(paths[0], "rt") as file:
            return json.load(file)


def profile(session):
    """A profile of every configuration, written as profile_NAME.json. Args: session."""
    for name in NAMES[1:] if session.tiny else NAMES:
        precision = FASTEST
        with session.attempt("profile", COMPILE_SECONDS, config=name, precision=precision) as go:
            if not go:
                continue
            _, run = prepare(session, name, precision)
            for _ in range(3):
                run.call()
            calls = -(-ITERATIONS // run.iterations)
            table = reduce_trace(record_trace(run, calls), calls * run.iterations, jax.devices()[0].platform)
            path = session.out / f"profile_{name}.json"
            path.write_text(json.dumps({"config": name, "precision": precision, **table}, indent=1) + "\n")
            session.emit("profile", config=name, precision=precision, **{**table, "top": table["top"][:10]})
            del run
