"""The loop around the compiled iterations: dispatch the next call, then read and check the metrics of the last."""

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
    """Runs iterations of one algorithm on what a loader gives, compiling once per length of call.

    Attributes:
      algorithm: the `Algorithm`.
      loader: a `DeviceLoader` or a `StreamLoader`.
      noise_key: the run's PRNG key for noise.
      iterations_per_call: iterations in one compiled call.
    """

    def __init__(self, algorithm, loader, noise_key, iterations_per_call):
        """Args: as the attributes."""
        self.algorithm = algorithm
        self.loader = loader
        self.noise_key = noise_key
        self.iterations_per_call = iterations_per_call
        self._program = compile_train_many(algorithm)

    def run(self, state, start, stop, report, should_stop=lambda: False):
        """Trains from iteration `start` to iteration `stop`.

        Args:
          state: the `TrainState` after `start` iterations; its memory is reused, so it is gone afterwards.
          start, stop: iterations.
          report: called with (iterations finished, metrics by name, each [iterations of the call]) after every call,
            while the next one is running.
          should_stop: asked after every call whether to stop early.

        Returns:
          The `TrainState`, and how many iterations it has; all their metrics have been checked.

        Raises:
          NonFiniteError: if a loss became NaN or infinite.
        """
        pending, done = None, start
        for examples in self.loader.calls(start, stop, self.iterations_per_call):
            state, metrics = self._program(state, examples, self.noise_key)
            if pending is not None:
                self._read(*pending, report)
            pending = (done, done + len(examples.images), metrics)
            done = pending[1]
            if should_stop():
                break
        if pending is not None:
            self._read(*pending, report)
        return state, done

    @staticmethod
    def _read(first, last, metrics, report):
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
        check_finite(first, metrics)
        report(last, metrics)
