"""How fast training is on the first device there is: iterations per second of configurations x precisions x num_seeds.

python -m benchmarks.throughput [--configs digits,mnist,cifar10] [--precisions float32,tf32,bfloat16] [--num_seeds 1,8]
    [--seconds 20] [--minutes 8.5] [--out results/throughput.json] [--peer] [--profile DIR] [--tiny]

Every combination is compiled as training compiles it, and timed. FLOP/s are exact counts of the architecture
(benchmarks/flops.py) over the measured time, as published and as rewritten; utilisation is their share of the device's
peak (benchmarks/peak.py), or where that is not known of a large matmul timed here. What does not fit the memory is
recorded and left out. The file is written after every combination, and none is begun that would end after --minutes;
set JAX_COMPILATION_CACHE_DIR, and a second run compiles nothing. --peer times the PyTorch peer in turns with ours.
"""

import argparse
import atexit
import gc
import importlib.util
import itertools
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks.compare import peer_settings, start_peer
from benchmarks.flops import count_flop
from benchmarks.ours import Run, compile_run, image_channels_of, read_config
from benchmarks.peak import ARITHMETIC, peak_of, utilisation
from benchmarks.peer.pipe import WorkerError
from benchmarks.rounds import alternate, describe_machine, ratios

MATMULS = {"float32": ("float32", "highest"), "tf32": ("float32", "high"), "bfloat16": ("bfloat16", "default")}
PEER_ROUNDS = 3
PEER_PATIENCE = 90.0  # seconds that a peer has to get ready
HEADING = (
    f"{'config':14}{'precision':10}{'seeds':>5}{'compile s':>10}{'it/s: min':>10}{'median':>9}{'max':>9}"
    f"{'x seeds':>9}{'TFLOP/s':>9}{'of peak':>9}{'GiB':>7}{'x peer':>8}"
)


def measure_matmul(precision: str, side: int) -> float:
    """Times a square matmul in a precision, and returns the best of five in FLOP/s."""
    dtype, passes = MATMULS[precision]
    matrix = jnp.ones((side, side), dtype)
    matmul = jax.jit(lambda a, b: jnp.matmul(a, b, precision=passes))
    seconds = []
    for _ in range(6):
        start = time.perf_counter()
        jax.block_until_ready(matmul(matrix, matrix))
        seconds.append(time.perf_counter() - start)
    return 2 * side**3 / min(seconds[1:])


def find_peaks(precisions: list[str], *, tiny: bool = False) -> dict[str, dict[str, Any]]:
    """The device's peak in each precision: "flop_rate", and "source", the table or a matmul."""
    device, peaks = jax.devices()[0], {}
    side = 256 if tiny else 2048 if device.platform == "cpu" else 8192
    for precision in precisions:
        peak = peak_of(device.device_kind, ARITHMETIC[precision][1])
        source = "matmul" if peak is None else "table"
        peaks[precision] = {"flop_rate": peak or measure_matmul(precision, side), "source": source}
    return peaks


def measure_ours(config: ConfigDict, run: Run, seconds: float, peak: float) -> dict[str, Any]:
    """Times a compiled call for about some seconds.

    Returns:
        Iterations per second, FLOP of one iteration of all seeds, utilisation of the peak, and memory.
    """
    rates = run.measure(seconds)
    median = float(np.median(rates))
    flop = {name: config.num_seeds * count for name, count in count_flop(config, image_channels_of(config)).items()}
    return {
        "iterations_per_second": {"min": min(rates), "median": median, "max": max(rates), "all": rates},
        "seed_iterations_per_second": config.num_seeds * median,
        "hours": config.training.iterations / median / 3600,
        "flop": flop,
        "utilisation": {name: utilisation(count, 1 / median, peak) for name, count in flop.items()},
        # Of this process so far, so that a smaller program after a larger one repeats the larger one's.
        "peak_bytes": (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        "finite": run.is_finite(),
    }


def measure_peer(config: ConfigDict, run: Run, seconds: float, python: str) -> dict[str, Any]:
    """Times the peer in turns with ours, all together for about some seconds.

    Args:
        config: of one seed.
        run: ours, warmed up.
        seconds: for all turns.
        python: an interpreter that has torch.
    """
    precision, flags = config.training.precision, ["channels_last"]
    if jax.devices()[0].platform == "gpu":
        flags += ["graph"]  # else hundreds of launches would keep the GPU waiting
        flags += ["tf32"] if precision == "tf32" else []
    flags += ["bf16"] if precision == "bfloat16" else []
    variant = "+".join(flags)
    try:
        with start_peer(config, image_channels_of(config), variant, python, PEER_PATIENCE) as worker:
            turn = seconds / (2 * PEER_ROUNDS)
            calls, iterations = max(1, round(turn / run.call())), max(1, round(turn / worker.run(1)))
            turns = {
                "ours": lambda: calls * run.iterations / run.call(calls),
                "peer": lambda: 1 / worker.run(iterations),
            }
            rates = alternate(turns, PEER_ROUNDS, warm_up=0)
            median = float(np.median(ratios(rates["ours"], rates["peer"])))
            return {"variant": variant, **rates, "median_ratio": median, "facts": worker.facts}
    except WorkerError as error:
        return {"variant": variant, "error": str(error)[-1500:]}


def write_profile(run: Run, folder: pathlib.Path) -> None:
    """Writes a trace of one call, for TensorBoard, XProf or Perfetto."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # Python's own calls would fill the trace
    with jax.profiler.trace(str(folder), profiler_options=options):
        run.call()


class Budget:
    """Divides the time until a deadline among the combinations that are left."""

    def __init__(self, seconds: float, combinations: int):
        self._deadline, self._left, self._setups = time.monotonic() + seconds, combinations, []

    def admits(self) -> bool:
        """Takes one combination off those left, and tells whether there is time to compile it."""
        self._left -= 1
        return time.monotonic() + 1.2 * max(self._setups, default=0.0) < self._deadline

    def timing_seconds(self, setup: float, most: float) -> float:
        """Seconds to time a combination that took `setup` to compile, so that as much is left for the later ones."""
        self._setups.append(setup)
        later = self._left * sum(self._setups) / len(self._setups)
        return min(most, max(1.0, (self._deadline - time.monotonic() - later) / (self._left + 1)))


def measure_combination(
    config: ConfigDict,
    peak: float,
    budget: Budget,
    *,
    iterations: int = 0,
    seconds: float = 20.0,
    peer_python: str | None = None,
    profile: pathlib.Path | None = None,
) -> dict[str, Any]:
    """Compiles and times one combination; that it does not run on this device is a result, too.

    Args:
        config: of the combination.
        peak: FLOP/s of the device in its precision.
        budget: of all combinations.
        iterations: of one call; 0 is the configuration's number, divided by the seeds.
        seconds: for timing, at most.
        peer_python: an interpreter with torch; None leaves the peer out, as several seeds do.
        profile: a folder for a trace; None writes none.
    """
    if not budget.admits():
        return {"error": "skipped: out of time"}
    iterations = iterations or max(1, config.training.iterations_per_call // config.num_seeds)
    start = time.monotonic()
    try:
        run = compile_run(config, image_channels_of(config), iterations)
        setup, peer = time.monotonic() - start, peer_python is not None and config.num_seeds == 1
        seconds = budget.timing_seconds(setup, seconds) / (1 + peer)
        result = {"iterations_per_call": iterations, **run.facts, **measure_ours(config, run, seconds, peak)}
        if peer:
            result["peer"] = measure_peer(config, run, seconds, peer_python)
        if profile is not None:
            write_profile(run, profile)
    except jax.errors.JaxRuntimeError as error:
        message = str(error)
        is_memory = "RESOURCE_EXHAUSTED" in message or "out of memory" in message.lower()
        return {"error": "out of memory" if is_memory else "failed", "message": message[:1500]}
    return result


def format_row(result: dict[str, Any]) -> str:
    """One combination as a line under HEADING."""
    line = f"{result['config']:14}{result['precision']:10}{result['num_seeds']:5}"
    if "error" in result:
        return f"{line}  {result['error']}"
    rates, seconds = result["iterations_per_second"], result["trace_s"] + result["compile_s"]
    line += f"{seconds:10.1f}{rates['min']:10.2f}{rates['median']:9.2f}{rates['max']:9.2f}"
    line += f"{result['seed_iterations_per_second']:9.2f}{1e-12 * result['flop']['rewritten'] * rates['median']:9.3f}"
    line += f"{result['utilisation']['rewritten']:9.1%}{result.get('program_bytes', 0) / 2**30:7.2f}"
    peer = result.get("peer", {})
    return line + (f"{peer['median_ratio']:8.2f}" if "median_ratio" in peer else f"{'failed' if peer else '':>8}")


def write_json(path: pathlib.Path, value: Any) -> None:
    """Replaces a file at once, so that a killed process leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="digits,mnist,cifar10", help="names in configs/, or paths")
    parser.add_argument("--precisions", default=",".join(ARITHMETIC))
    parser.add_argument("--num_seeds", default="1,8")
    parser.add_argument("--iterations", type=int, default=0, help="of a call; 0: the configuration's over num_seeds")
    parser.add_argument("--seconds", type=float, default=20, help="for timing a combination, at most")
    parser.add_argument("--minutes", type=float, default=8.5, help="for everything")
    parser.add_argument("--out", default="results/throughput.json")
    parser.add_argument("--peer", action="store_true", help="times the PyTorch peer too")
    parser.add_argument("--peer_python", default=sys.executable, help="an interpreter that has torch")
    parser.add_argument("--profile", default="", metavar="DIR", help="writes a trace of one call of each configuration")
    parser.add_argument("--tiny", action="store_true", help="8x8 pixels, few feature maps: for tests")
    arguments = parser.parse_args()
    names, precisions = arguments.configs.split(","), arguments.precisions.split(",")
    if unknown := set(precisions) - set(ARITHMETIC):
        parser.error(f"--precisions has {', '.join(sorted(unknown))}; allowed: {', '.join(ARITHMETIC)}.")
    # What may not come to an end comes last.
    combinations = list(itertools.product(map(int, arguments.num_seeds.split(",")), names, precisions))
    configs = [read_config(name, arguments.tiny, precision, count) for count, name, precision in combinations]
    budget = Budget(60 * arguments.minutes, len(combinations))
    peer_python = arguments.peer_python if arguments.peer else None
    if arguments.peer:
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the peer needs memory on the device, too
        if peer_python == sys.executable and importlib.util.find_spec("torch") is None:
            parser.error("--peer needs torch, which is not installed here: name a Python that has it, --peer_python.")
        for config in configs:
            peer_settings(config, image_channels_of(config))  # refuses what the peer does not compute
    if not jax.config.jax_compilation_cache_dir:  # precisions share the program of the first state
        jax.config.update("jax_compilation_cache_dir", tempfile.mkdtemp())
        atexit.register(shutil.rmtree, jax.config.jax_compilation_cache_dir, ignore_errors=True)
    machine, peaks, results = describe_machine(), find_peaks(precisions, tiny=arguments.tiny), []
    print(", ".join(f"{name} {value}" for name, value in machine.items() if value is not None))
    for precision, peak in peaks.items():
        print(f"peak in {precision}: {1e-12 * peak['flop_rate']:.3f} TFLOP/s ({peak['source']})")
    print(HEADING, flush=True)
    profiled = set()
    for (num_seeds, name, precision), config in zip(combinations, configs, strict=True):
        folder = None
        if arguments.profile and name not in profiled:
            profiled.add(name)
            folder = pathlib.Path(arguments.profile) / pathlib.Path(name).stem
        result = measure_combination(
            config,
            peaks[precision]["flop_rate"],
            budget,
            iterations=arguments.iterations,
            seconds=arguments.seconds,
            peer_python=peer_python,
            profile=folder,
        )
        results.append({"config": name, "precision": precision, "num_seeds": num_seeds, **result})
        write_json(pathlib.Path(arguments.out), {"machine": machine, "peaks": peaks, "results": results})
        print(format_row(results[-1]), flush=True)
        # What is on the device goes before the next combination comes.
        jax.clear_caches()
        gc.collect()


if __name__ == "__main__":
    main()
