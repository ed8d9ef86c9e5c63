"""What the log of a run costs: the same training with the log as it is by default and with almost none, alternating.

python -m benchmarks.log_overhead [--config digits] [--rounds N] [--iterations N]

Both runs are whole runs of `train`. Their speed is read from their own metrics.jsonl, from half the iterations on, so
that compiling does not count: "logged" has a line every 100 iterations and a sheet of samples every 400, "plain" one
line at half and one at the end, no sheet and no event files.
"""

import argparse
import contextlib
import io
import json
import pathlib
import tempfile

import numpy as np
from ml_collections import ConfigDict

from benchmarks.ours import image_channels_of, read_config
from benchmarks.rounds import alternate, print_heading, ratios, spread
from mpcc_jax.training.train import train

LINES, SHEETS = 100, 400  # iterations between two


def train_and_time(config: ConfigDict, **logging: int | bool) -> float:
    """Trains in a temporary folder; returns seconds per iteration of the second half, by the run's own log."""
    config = config.copy_and_resolve_references()
    config.logging.update(logging)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train(config, folder)
        lines = (pathlib.Path(folder) / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    late = [line for line in lines if line["iteration"] > config.training.iterations // 2]
    return float(np.mean([1 / line["iterations_per_second"] for line in late if "iterations_per_second" in line]))


def measure(config: ConfigDict, rounds: int, iterations: int) -> dict[str, list[float]]:
    """Prints the table; returns seconds per iteration of every round, "plain" and "logged"."""
    config.training.iterations = iterations
    config.checkpoints.every = 0
    times = alternate(
        {
            "plain": lambda: train_and_time(config, every=iterations // 2, images_every=0, tensorboard=False),
            "logged": lambda: train_and_time(config, every=min(LINES, iterations // 4), images_every=SHEETS),
        },
        rounds,
        warm_up=0,
        progress=True,
    )
    print_heading(config, image_channels_of(config))
    for name, values in times.items():
        print(f"{name:8} seconds per iteration: {spread(values, 5)} (min, median, max of {rounds} runs)")
    print(f"logged / plain: {spread(ratios(times['logged'], times['plain']), 4)}")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="digits")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1600)
    arguments = parser.parse_args()
    if arguments.iterations < 2 * SHEETS:
        parser.error(f"--iterations must be {2 * SHEETS} or more, so that the first half compiles everything.")
    measure(read_config(arguments.config), arguments.rounds, arguments.iterations)


if __name__ == "__main__":
    main()
