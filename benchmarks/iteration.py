"""Times one iteration of the MNIST-size network beside the same multiply-adds as one large matmul, in one run.

python -m benchmarks.iteration [--rounds N] [--config configs/mnist.py] [--image_channels C]

The multiply-adds are those of the published architecture, counted plainly (tables 5 to 7, Algorithm 1; benchmarks/
flops.py): a forward pass once, a backward pass twice that, no exact rewrite taken off. Rounds alternate between the
iteration and the matmul, so that a machine that slows down slows both.
"""

import argparse
import datetime
import platform
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.flops import multiply_adds
from benchmarks.ours import compile_run
from mpcc_jax.config import load_config


def _timed(function, *arguments):
    """Seconds of a call until its result is there."""
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def measure(config, image_channels, rounds, iterations=1):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      rounds: how often the iteration and the matmuls alternate.
      iterations: in one compiled call, whose time is divided by it.

    Returns:
      Median seconds by name: "iteration", "numpy", "jax".
    """
    work = multiply_adds(config, image_channels)
    total = sum(work.values())
    rng = np.random.default_rng(0)
    size = config.data.resolution
    run = compile_run(config, image_channels, iterations)

    # One square matmul of `total` multiply-adds, or as many of 4096 as it takes (a larger one would not fit a laptop).
    side = min(4096, round(total ** (1 / 3)))
    repeats = total / side**3
    a, b = rng.normal(size=(2, side, side)).astype(np.float32)
    jax_a, jax_b = jnp.asarray(a), jnp.asarray(b)
    jax_matmul = jax.jit(lambda a, b: a @ b)

    times = {"iteration": [], "numpy": [], "jax": []}
    for _ in range(rounds + 1):
        times["iteration"].append(run.call() / iterations)
        times["numpy"].append(_timed(np.matmul, a, b) * repeats)
        times["jax"].append(_timed(jax_matmul, jax_a, jax_b) * repeats)
    times = {name: values[1:] for name, values in times.items()}  # the first round warms up

    medians = {name: float(np.median(values)) for name, values in times.items()}
    device = jax.devices()[0]
    print(f"{datetime.date.today()}, {device.device_kind} x {len(jax.devices())}, {platform.machine()}")
    print(f"jax {jax.__version__}, numpy {np.__version__}, float32, Python {platform.python_version()}")
    print(
        f"C = {config.model.channels}, J = {config.model.latent_dim}, B = {config.training.batch_size}, "
        f"{size}x{size}x{image_channels}: {2e-12 * total:.3f} TFLOP an iteration "
        f"({', '.join(f'{name} {part / total:.0%}' for name, part in work.items())})"
    )
    print(f"tracing {run.facts['trace_s']:.1f} s, compiling {run.facts['compile_s']:.1f} s")
    print(f"{'':24}{'median s':>10}{'min':>8}{'max':>8}{'GFLOP/s':>10}{'iteration is':>14}")
    for name, label in (("iteration", "one iteration"), ("numpy", "NumPy matmul"), ("jax", "jax matmul")):
        ratio = "" if name == "iteration" else f"{medians['iteration'] / medians[name]:.2f} x"
        print(
            f"{label:24}{medians[name]:10.3f}{min(times[name]):8.3f}{max(times[name]):8.3f}"
            f"{2e-9 * total / medians[name]:10.0f}{ratio:>14}"
        )
    return medians


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mnist.py")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    measure(load_config(arguments.config), arguments.image_channels, arguments.rounds)


if __name__ == "__main__":
    main()
