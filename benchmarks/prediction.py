"""How many images a second a trained model clusters: python -m benchmarks.prediction [--config configs/mnist.py].

The weights are those of a start, which take the same time as trained ones. The images are the data set's where it is
prepared (--data_dir says where), otherwise random ones of its shape. Beside it, the least that the encoder's
convolutions and linear layers need: NumPy's matmul doing as many multiply-adds, in alternation.
"""

import argparse
import datetime
import platform
import time

import jax
import numpy as np

from benchmarks.iteration import load_config
from mpcc_jax.data import load_dataset
from mpcc_jax.errors import DataError
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.algorithm import build_algorithm
from mpcc_jax.training.state import init_state
from mpcc_jax.workdir import versions

MATRIX = 1024


def take_images(config, count):
    """Real images if they are there.

    Args:
      config: the configuration.
      count: at most so many.

    Returns:
      uint8, [count, H, W, C], and what they are.
    """
    try:
        dataset = load_dataset(config)
        return np.ascontiguousarray(dataset.images[:count]), f"the first {count} of {dataset.name} {dataset.split}"
    except DataError:
        size, channels = config.data.resolution, 1 if config.data.name in ("mnist", "fashion_mnist", "digits") else 3
        images = np.random.default_rng(0).integers(0, 256, (count, size, size, channels)).astype(np.uint8)
        return images, f"{count} random images of {size}x{size}x{channels} ({config.data.name} is not prepared here)"


def encoder_operations(trained):
    """Floating-point operations of clustering one image, by XLA's count.

    Args:
      trained: the `TrainedModel`.

    Returns:
      A number.
    """
    from mpcc_jax.evaluation.encode import _compiled_encoder

    images = np.zeros((trained.batch_size, *trained.image_shape), np.uint8)
    lowered = _compiled_encoder(trained.model).lower(trained.weights.params, trained.weights.buffers, images)
    return lowered.compile().cost_analysis()["flops"] / trained.batch_size


def measure(config, count, batch_size, rounds):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      count: images.
      batch_size: of the networks.
      rounds: how often both alternate.

    Returns:
      Median images a second.
    """
    images, what = take_images(config, count)
    algorithm = build_algorithm(config, images.shape[-1])
    state = init_state(algorithm, jax.random.key(0))
    trained = TrainedModel(config, algorithm.model, state, batch_size=batch_size)
    started = time.perf_counter()
    trained.predict(images[:1])
    first = time.perf_counter() - started
    operations, matrix = encoder_operations(trained), np.ones((MATRIX, MATRIX), np.float32)
    products = max(round(operations * len(images) / (2 * MATRIX**3)), 1)
    times = {"predict": [], "NumPy matmul": []}
    for _ in range(rounds):
        began = time.perf_counter()
        trained.predict(images)
        times["predict"].append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(products):
            matrix @ matrix
        times["NumPy matmul"].append(time.perf_counter() - began)
    print(f"{datetime.date.today()}, {jax.devices()[0].device_kind}, {platform.machine()}, {versions()}")
    print(f"C = {config.model.channels}, K = {config.model.num_clusters}, {what}, in batches of {batch_size}")
    print(f"first image, tracing and compiling included: {first:.1f} s; {operations / 1e6:.1f} MFLOP an image")
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, values in times.items():
        rates = ", ".join(f"{len(images) / value:.0f}" for value in (medians[name], max(values), min(values)))
        print(f"{name:14} images/s: median, min, max {rates}")
    print(f"predict takes {medians['predict'] / medians['NumPy matmul']:.2f} x the matmul")
    return len(images) / medians["predict"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mnist.py")
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    config = load_config(arguments.config)
    config.data.dir = arguments.data_dir
    measure(config, arguments.images, arguments.batch_size, arguments.rounds)


if __name__ == "__main__":
    main()
