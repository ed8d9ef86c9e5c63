"""What watching a run costs: the same training with the log as it is by default and without any, in alternation.

python -m benchmarks.logging [--config configs/digits.py] [--rounds N] [--iterations N]

Both train the same iterations from the same state in calls of the same length. With the log: means on the device, the
look at the state and its probe, JSON lines, event files, at the default intervals; a sheet of samples every round, so
that the first round compiles all there is. On a machine shared with others the processor seconds are the steadier
figure; on CPU they hold all the work, that of the device too.
"""

import argparse
import datetime
import pathlib
import platform
import tempfile
import time

import jax
import numpy as np
from mpcc_jax.training.monitor import Monitor

from benchmarks.iteration import load_config
from mpcc_jax.console import Display, versions
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.training.algorithm import build_algorithm
from mpcc_jax.training.logging import RunLog
from mpcc_jax.training.loop import Trainer
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import init_state, split_seed


def measure(config, image_channels, rounds, iterations):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      rounds: how often both alternate.
      iterations: in a round.

    Returns:
      Median seconds by name: "plain", "logged".
    """
    training, size = config.training, config.data.resolution
    config.training.iterations = iterations * (rounds + 1)
    config.logging.images_every = iterations
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, jax.devices()[:1])
    images = np.random.default_rng(0).integers(0, 256, (2000, size, size, image_channels)).astype(np.uint8)
    keys = split_seed(0)
    steps = (training.discriminator_steps, training.batch_size)
    loader = DeviceLoader(images, None, [keys.data], *steps, layout)
    trainer = Trainer(algorithm, loader, layout.replicate_keys(keys.noise), training.iterations_per_call, layout)
    display = Display(quiet=True)
    times, work = ({"plain": [], "logged": []} for _ in range(2))
    with tempfile.TemporaryDirectory() as folder, display.training(config.training.iterations) as progress:
        log = RunLog(pathlib.Path(folder))
        monitor = Monitor(config, algorithm, layout, images, keys.evaluation, 0, log, progress, display.warn)
        watch = {"plain": (lambda *_: None, lambda *_: None), "logged": (monitor.report, monitor.observe)}
        states = {name: init_state(algorithm, layout.replicate_keys(keys.init), layout) for name in watch}
        for turn in range(rounds + 1):
            for name, (report, observe) in watch.items():
                began, used = time.perf_counter(), time.process_time()
                start = turn * iterations
                states[name], _ = trainer.run(states[name], start, start + iterations, report, observe)
                jax.block_until_ready(states[name])
                times[name].append(time.perf_counter() - began)
                work[name].append(time.process_time() - used)
        log.close()
    times, work = (
        {name: values[1:] for name, values in table.items()} for table in (times, work)
    )  # the first compiles
    medians = {name: float(np.median(values)) for name, values in times.items()}
    ratios = [logged / plain for logged, plain in zip(times["logged"], times["plain"], strict=True)]
    print(f"{datetime.date.today()}, {jax.devices()[0].device_kind}, {platform.machine()}, {versions()}")
    print(
        f"C = {config.model.channels}, B = {training.batch_size}, {size}x{size}x{image_channels}: {iterations} "
        f"iterations in calls of {training.iterations_per_call}, a line every {config.logging.every}, a sheet every "
        f"{config.logging.images_every}"
    )
    for name, values in times.items():
        print(f"{name:10} median {medians[name]:.2f} s, min {min(values):.2f}, max {max(values):.2f}")
    print(
        f"processor seconds, all rounds: plain {sum(work['plain']):.1f}, logged {sum(work['logged']):.1f}: "
        f"{sum(work['logged']) / sum(work['plain']) - 1:+.2%}"
    )
    print(
        f"overhead: {sum(times['logged']) / sum(times['plain']) - 1:+.2%} of all rounds together, "
        f"{medians['logged'] / medians['plain'] - 1:+.2%} of the medians; by round: "
        + ", ".join(f"{ratio - 1:+.2%}" for ratio in ratios)
    )
    return medians


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/digits.py")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=200)
    arguments = parser.parse_args()
    measure(load_config(arguments.config), arguments.image_channels, arguments.rounds, arguments.iterations)


if __name__ == "__main__":
    main()
