"""Images per second that both placements deliver, beside what a training iteration consumes.

python -m benchmarks.data [--config configs/mnist.py] [--count N] [--calls N] [--image_channels C] [--skip_training]

A loader's job is done when examples are ready on the device. Rounds alternate between the placements, on random images
in a memory-mapped file that fits the page cache, as the paper's data sets do.
"""

import argparse
import datetime
import pathlib
import platform
import tempfile
import time

import jax
import numpy as np

from benchmarks.iteration import load_config
from mpcc_jax.data.loader import DeviceLoader, StreamLoader
from mpcc_jax.training.algorithm import build_algorithm
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import init_state
from mpcc_jax.training.steps import compile_train_iterations


def write_images(path, count, size, image_channels):
    """Random images in an .npy file, opened memory-mapped."""
    images = np.lib.format.open_memmap(path, "w+", np.uint8, (count, size, size, image_channels))
    rng = np.random.default_rng(0)
    for start in range(0, count, 1000):
        images[start : start + 1000] = rng.integers(0, 256, images[start : start + 1000].shape)
    images.flush()
    return np.load(path, mmap_mode="r")


def time_loader(loader, start, calls, iterations_per_call):
    """Seconds until the examples of some calls, beginning at iteration `start`, are all on the device."""
    began = time.perf_counter()
    for examples in loader.calls(start, start + calls * iterations_per_call, iterations_per_call):
        jax.block_until_ready(examples.images)
    return time.perf_counter() - began


def time_training(algorithm, layout, loader, iterations_per_call, rounds):
    """Seconds of single calls of the compiled iterations, compilation left out."""
    keys = [layout.replicate_keys(jax.random.key(number)) for number in range(2)]
    state, program = init_state(algorithm, keys[0], layout), compile_train_iterations(algorithm, layout)
    seconds = []
    for examples in loader.calls(0, (rounds + 1) * iterations_per_call, iterations_per_call):
        jax.block_until_ready(examples)
        began = time.perf_counter()
        state, _ = jax.block_until_ready(program(state, examples, keys[1]))
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def measure(config, image_channels, count, calls, rounds=5, *, training=True):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      count: images in the data set.
      calls: of `config.training.iterations_per_call` iterations, in each round.
      rounds: how often the placements alternate.
      training: whether to time the iteration too.

    Returns:
      Median images per second by name: "device", "stream" and, if timed, "training".
    """
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, jax.devices()[:1])
    per_call = config.training.iterations_per_call
    images_per_call = per_call * algorithm.discriminator_steps * algorithm.batch_size
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(pathlib.Path(folder) / "images.npy", count, config.data.resolution, image_channels)
        shape = ([jax.random.key(0)], algorithm.discriminator_steps, algorithm.batch_size, layout)
        loaders = {"device": DeviceLoader(images, None, *shape), "stream": StreamLoader(images, None, *shape)}
        rates = {name: [] for name in loaders}
        for turn in range(rounds + 1):
            for name, loader in loaders.items():
                seconds = time_loader(loader, turn * calls * per_call, calls, per_call)
                rates[name].append(calls * images_per_call / seconds)
        if training:
            times = time_training(algorithm, layout, loaders["device"], per_call, rounds)
            rates["training"] = [0.0, *(images_per_call / seconds for seconds in times)]
    rates = {name: values[1:] for name, values in rates.items()}  # the first round warms up
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    _print_table(config, image_channels, count, rates, medians)
    return medians


def _print_table(config, image_channels, count, rates, medians):
    size, device = config.data.resolution, jax.devices()[0]
    print(f"{datetime.date.today()}, {device.device_kind} x {len(jax.devices())}, {platform.machine()}")
    print(f"jax {jax.__version__}, numpy {np.__version__}, Python {platform.python_version()}")
    print(
        f"{count} images of {size}x{size}x{image_channels}, B = {config.training.batch_size}, D_steps = "
        f"{config.training.discriminator_steps}, {config.training.iterations_per_call} iterations a call"
    )
    print(f"{'images/s':24}{'median':>10}{'min':>10}{'max':>10}{'x training':>12}")
    labels = {"device": "from the device", "stream": "streamed", "training": "training consumes"}
    for name, values in rates.items():
        ratio = f"{medians[name] / medians['training']:.0f}" if "training" in medians and name != "training" else ""
        print(f"{labels[name]:24}{medians[name]:10.0f}{min(values):10.0f}{max(values):10.0f}{ratio:>12}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mnist.py")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--count", type=int, default=70_000)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--iterations_per_call", type=int, default=0, help="0 is the configuration's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip_training", action="store_true")
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    if arguments.iterations_per_call:
        config.training.iterations_per_call = arguments.iterations_per_call
    sizes = (arguments.image_channels, arguments.count, arguments.calls, arguments.rounds)
    measure(config, *sizes, training=not arguments.skip_training)


if __name__ == "__main__":
    main()
