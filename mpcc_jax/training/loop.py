"""The loop around the compiled iterations: dispatch the next call, then read and check the metrics of the last."""

import functools

import jax
import numpy as np

from mpcc_jax.training.iteration import compile_train_many


class NonFiniteError(RuntimeError):
    """A loss became NaN or infinite; the message names the iteration and the loss."""


def check_finite(start, metrics):
    """Stops a run that has gone wrong.

    Args:
      start: iterations finished before the call.
      metrics: by name, each [iterations of the call].

    Raises:
      NonFiniteError: names the first iteration and every metric that was not finite there.
    """
    broken = {name: ~np.isfinite(values) for name, values in metrics.items()}
    first = min((int(flags.argmax()) for flags in broken.values() if flags.any()), default=None)
    if first is not None:
        names = ", ".join(f"{name} = {metrics[name][first]}" for name, flags in broken.items() if flags[first])
        raise NonFiniteError(
            f"Iteration {start + first + 1} is not finite: {names}. Training stopped. Lower "
            "config.training.learning_rate or config.training.prior_learning_rate, or check the images."
        )


class Trainer:
    """Runs iterations of one algorithm on one data set, compiling once per length of call.

    Attributes:
      algorithm: the `Algorithm`.
      iterations_per_call: iterations in one compiled call.
    """

    def __init__(self, algorithm, images, labels, keys, iterations_per_call):
        """Moves the data to the device.

        Args:
          algorithm: the `Algorithm`.
          images: uint8, [N, H, W, C].
          labels: integers, [N], or None; only conditional training reads them.
          keys: (for the order of the data, for the noise).
          iterations_per_call: iterations in one compiled call.
        """
        self.algorithm = algorithm
        self.iterations_per_call = iterations_per_call
        labels = jax.device_put(labels) if algorithm.conditional else None
        self._inputs = (jax.device_put(images), labels, keys)
        self._program = functools.cache(functools.partial(compile_train_many, algorithm))

    def run(self, state, start, stop, report):
        """Trains from iteration `start` to iteration `stop`.

        Args:
          state: the `TrainState` after `start` iterations; its memory is reused, so it is gone afterwards.
          start, stop: iterations.
          report: called with (iterations finished, metrics by name, each [iterations of the call]) after every call,
            while the next one is running.

        Returns:
          The `TrainState` after `stop` iterations.

        Raises:
          NonFiniteError: if a loss became NaN or infinite.
        """
        pending = None
        for first in range(start, stop, self.iterations_per_call):
            count = min(self.iterations_per_call, stop - first)
            state, metrics = self._program(count)(state, *self._inputs)
            if pending is not None:
                self._read(*pending, report)
            pending = (first, count, metrics)
        if pending is not None:
            self._read(*pending, report)
        return state

    @staticmethod
    def _read(first, count, metrics, report):
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
        check_finite(first, metrics)
        report(first + count, metrics)
