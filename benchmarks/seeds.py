"""What several seeds at once cost: one program for all of them against one for a single seed, in alternation.

python -m benchmarks.seeds [--config configs/digits.py] [--seeds N] [--rounds N]

The ratio to read is that to as many runs one after the other: below 1, training together saves time.
"""

import argparse
import datetime
import platform
import time

import jax
import numpy as np

from benchmarks.iteration import load_config
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.training.algorithm import build_algorithm
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import init_state, split_seed
from mpcc_jax.training.steps import compile_train_iterations
from mpcc_jax.workdir import versions


def prepare(config, image_channels, num_seeds):
    """A function that trains one more call, its iterations and the seconds until it was compiled."""
    config = config.copy_and_resolve_references()
    config.num_seeds = num_seeds
    training, size = config.training, config.data.resolution
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, jax.devices()[:1])
    images = np.random.default_rng(0).integers(0, 256, (2000, size, size, image_channels)).astype(np.uint8)
    keys = [split_seed(seed) for seed in range(num_seeds)]
    steps = (training.discriminator_steps, training.batch_size)
    loader = DeviceLoader(images, None, [key.data for key in keys], *steps, layout)
    (examples,) = loader.calls(0, training.iterations_per_call, training.iterations_per_call)
    state = init_state(algorithm, layout.replicate_keys(*(key.init for key in keys)), layout)
    noise_keys = layout.replicate_keys(*(key.noise for key in keys))
    began = time.perf_counter()
    program = compile_train_iterations(algorithm, layout).lower(state, examples, noise_keys).compile()
    compiling = time.perf_counter() - began
    box = [state]

    def call():
        box[0], _ = jax.block_until_ready(program(box[0], examples, noise_keys))

    return call, compiling


def measure(config, image_channels, num_seeds, rounds):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      num_seeds: that are trained at once.
      rounds: how often both alternate.

    Returns:
      Median seconds of a call by name: "one", "together".
    """
    calls = {"one": prepare(config, image_channels, 1), "together": prepare(config, image_channels, num_seeds)}
    times = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, (call, _) in calls.items():
            began = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - began)
    times = {name: values[1:] for name, values in times.items()}  # the first round warms up
    medians, per_call = {name: float(np.median(values)) for name, values in times.items()}, config.training
    size = config.data.resolution
    print(f"{datetime.date.today()}, {jax.devices()[0].device_kind}, {platform.machine()}, {versions()}")
    print(
        f"C = {config.model.channels}, B = {config.training.batch_size}, {size}x{size}x{image_channels}, "
        f"{per_call.iterations_per_call} iterations a call"
    )
    for name, values in times.items():
        milliseconds = [1e3 * value / per_call.iterations_per_call for value in values]
        print(
            f"{name:10} median {np.median(milliseconds):8.2f} ms an iteration, min {min(milliseconds):.2f}, max "
            f"{max(milliseconds):.2f}; tracing and compiling {calls[name][1]:.1f} s"
        )
    together = medians["together"] / medians["one"]
    compiling = calls["together"][1] / calls["one"][1]
    print(
        f"{num_seeds} seeds at once: {together:.2f} x one ({together / num_seeds:.2f} of {num_seeds} runs); compiling "
        f"{compiling:.2f} x one ({compiling / num_seeds:.2f} of {num_seeds} runs)"
    )
    return medians


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/digits.py")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    measure(load_config(arguments.config), arguments.image_channels, arguments.seeds, arguments.rounds)


if __name__ == "__main__":
    main()
