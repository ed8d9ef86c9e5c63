"""Images per second that both placements deliver, beside what a training iteration consumes.

python -m benchmarks.data [--config mnist] [--count N] [--calls N] [--image_channels C] [--skip_training]

A loader's job is done when examples are ready on the device. The images are random, in a memory-mapped file that fits
the page cache, as the paper's data sets do.
"""

import argparse
import itertools
import pathlib
import tempfile
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.ours import compile_run, random_images, read_config
from benchmarks.rounds import alternate, print_heading
from mpcc_jax.data.loader import DeviceLoader, StreamLoader
from mpcc_jax.training.sharding import make_layout


def measure(
    config: ConfigDict, image_channels: int, count: int, calls: int, rounds: int = 5, *, training: bool = True
) -> dict[str, float]:
    """Prints the table of alternating rounds.

    Args:
        config: the configuration.
        image_channels: 1 or 3.
        count: images in the data set.
        calls: in each round, of `config.training.iterations_per_call` iterations.
        rounds: how often the placements alternate.
        training: whether to time the iteration too.

    Returns:
        Median images per second: "device", "stream" and, if timed, "training".
    """
    layout, settings = make_layout(config, jax.devices()[:1]), config.training
    per_call = settings.iterations_per_call
    images_per_call = per_call * settings.discriminator_steps * settings.batch_size

    def turns_of(loader):
        starts = itertools.count(step=calls * per_call)  # other examples every time

        def turn():
            first, start = next(starts), time.perf_counter()
            for examples in loader.calls(first, first + calls * per_call, per_call):
                jax.block_until_ready(examples.images)
            return calls * images_per_call / (time.perf_counter() - start)

        return turn

    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "images.npy"
        np.save(path, random_images(config, image_channels, count))
        arguments = (None, [jax.random.key(0)], settings.discriminator_steps, settings.batch_size, layout)
        images = np.load(path, mmap_mode="r")
        turns = {
            "device": turns_of(DeviceLoader(images, *arguments)),
            "stream": turns_of(StreamLoader(images, *arguments)),
        }
        if training:
            run = compile_run(config, image_channels, per_call)
            turns["training"] = lambda: images_per_call / run.call()
        rates = alternate(turns, rounds)
    medians = {name: float(np.median(values)) for name, values in rates.items()}
    print_heading(config, image_channels)
    print(f"{count} images, {per_call} iterations a call")
    print(f"{'images/s':12}{'median':>10}{'min':>10}{'max':>10}{'x training':>12}")
    for name, values in rates.items():
        ratio = f"{medians[name] / medians['training']:.0f}" if training else ""
        print(f"{name:12}{medians[name]:10.0f}{min(values):10.0f}{max(values):10.0f}{ratio:>12}")
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnist")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--count", type=int, default=70_000)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--iterations_per_call", type=int, default=0, help="0 is the configuration's")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skip_training", action="store_true")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    config.training.iterations_per_call = arguments.iterations_per_call or config.training.iterations_per_call
    sizes = (arguments.image_channels, arguments.count, arguments.calls, arguments.rounds)
    measure(config, *sizes, training=not arguments.skip_training)


if __name__ == "__main__":
    main()
