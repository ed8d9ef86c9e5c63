"""How many images a second a trained model clusters: python -m benchmarks.prediction [--config mnist] [--images N].

The weights are those of a start, which take the same time as trained ones; the images are random. Beside it, the least
that the encoder's convolutions and linear layers need: NumPy's matmul doing as many multiply-adds, in alternation.
"""

import argparse
import time

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.flops import network_layers
from benchmarks.ours import image_channels_of, random_images, read_config
from benchmarks.rounds import alternate, print_heading, ratios, spread
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.state import build_algorithm, init_state

SIDE = 1024  # of the matmul


def measure(config: ConfigDict, count: int, batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Prints the table; returns seconds of every round, "predict" and "matmul", for a number of images."""
    channels = image_channels_of(config)
    images, algorithm = random_images(config, channels, count), build_algorithm(config, channels)
    trained = TrainedModel(config, algorithm.model, init_state(algorithm, jax.random.key(0)), batch_size=batch_size)
    multiply_adds = sum(layer.multiply_adds for layer in network_layers(config, channels, rewritten=True)["encoder"])
    matrix, products = np.ones((SIDE, SIDE), np.float32), max(1, round(multiply_adds * count / SIDE**3))

    def timed(function, calls=1):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - start

    first = timed(lambda: trained.predict(images[:1]))
    turns = {
        "predict": lambda: timed(lambda: trained.predict(images)),
        "matmul": lambda: timed(lambda: matrix @ matrix, products),
    }
    times = alternate(turns, rounds, warm_up=0)
    print_heading(config, channels)
    print(f"{count} random images in batches of {batch_size}, {2e-6 * multiply_adds:.1f} MFLOP an image")
    print(f"first image, tracing and compiling included: {first:.1f} s")
    for name, values in times.items():
        print(f"{name:8} images/s: {spread([count / value for value in values], 0)} (min, median, max)")
    print(f"predict takes {np.median(ratios(times['predict'], times['matmul'])):.2f} x the matmul")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnist")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    measure(read_config(arguments.config), arguments.images, arguments.batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
