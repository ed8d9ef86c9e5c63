"""The loop around the compiled iterations: dispatch the next call, then read and check the metrics of the last."""

import contextlib

import numpy as np

from mpcc_jax.compilation import compile_ahead
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.training.steps import compile_train_iterations

# In the order of Algorithm 1: what breaks first breaks the rest.
NETWORKS = ("discriminator", "generator", "prior_generator", "encoder", "prior")
PRIOR_UPDATES = {"prior_generator": "prior (on Loss I)", "prior": "prior (on L_c + lambda_p L_p)"}


def check_finite(start, metrics, seeds=None):
    """Stops a run that has gone wrong.

    Args:
      start: iterations finished before the call.
      metrics: by name, each [iterations of the call], or [seeds, iterations].
      seeds: of the runs, if there are several.

    Raises:
      NonFiniteError: names the first iteration, every loss that was not finite there, and the first network whose
        gradient was not.
    """
    runs = [(seed, {name: values[run] for name, values in metrics.items()}) for run, seed in enumerate(seeds or ())]
    breaks = [(_first_broken(values), seed, values) for seed, values in runs or [(None, metrics)]]
    breaks = [one for one in breaks if one[0] is not None]
    if not breaks:
        return
    first, seed, values = min(breaks, key=lambda one: one[0])
    broken = [name for name, series in values.items() if not np.isfinite(series[first])]
    norms = {f"gradient_norm_{network}": PRIOR_UPDATES.get(network, network) for network in NETWORKS}
    network = next((norms[name] for name in norms if name in broken), None)
    losses = ", ".join(f"{name} = {values[name][first]}" for name in broken if name not in norms)
    raise NonFiniteError(
        f"Iteration {start + first + 1}{'' if seed is None else f' of seed {seed}'} is not finite: "
        f"{losses or 'no loss, but a gradient'}. "
        + (f"The first network whose gradient is not finite: {network}. " if network else "All gradients are finite. ")
        + "Training stopped. Lower config.training.learning_rate or config.training.prior_learning_rate, or check the "
        "images."
    )


def _first_broken(metrics):
    """The first iteration of a call that is not finite, or None."""
    flags = np.logical_or.reduce([~np.isfinite(values) for values in metrics.values()])
    return int(flags.argmax()) if flags.any() else None


class Trainer:
    """Runs iterations of one algorithm on what a loader gives, compiling once per length of call.

    Attributes:
      algorithm: the `Algorithm`.
      loader: a `DeviceLoader` or a `StreamLoader`.
      noise_key: the run's PRNG key for noise; with several runs, [seeds].
      iterations_per_call: iterations in one compiled call.
      layout: the `Layout`; None is the first device.
      seeds: of the runs, if there are several.
    """

    def __init__(self, algorithm, loader, noise_key, iterations_per_call, layout=None, seeds=None):
        """Args: as the attributes."""
        self.algorithm = algorithm
        self.loader = loader
        self.noise_key = noise_key
        self.iterations_per_call = iterations_per_call
        self.seeds = seeds
        self._program = compile_train_iterations(algorithm, layout)
        self._ahead = None

    def compile_ahead(self, state, start, stop):
        """Begins to compile the first call of `run`, so that the caller can make or read the state meanwhile.

        Args:
          state: what the state will look like, from `abstract_state`.
          start, stop: as for `run`; another start is no error, but may be compiled anew.
        """
        with contextlib.closing(self.loader.calls(start, stop, self.iterations_per_call)) as calls:
            examples = next(calls)
        self._ahead = (examples.images.shape, compile_ahead(self._program, state, examples, self.noise_key))

    def _program_for(self, examples):
        if self._ahead is not None and examples.images.shape == self._ahead[0]:
            return self._ahead[1].result()
        return self._program

    def run(self, state, start, stop, report, observe=lambda *_: None, should_stop=lambda: False):
        """Trains from iteration `start` to iteration `stop`.

        Args:
          state: the `TrainState` after `start` iterations; its memory is reused, so it is gone afterwards.
          start, stop: iterations.
          report: called with (iterations finished, metrics by name, each [(seeds,) iterations of the call], what
            `observe` returned) after every call, while the next one is running.
          observe: called with (iterations finished, state, metrics on the device) while that call is running. It may
            dispatch programs of its own on the state, and must not wait for them.
          should_stop: asked after every call whether to stop early.

        Returns:
          The `TrainState`, and how many iterations it has; all their metrics have been checked.

        Raises:
          NonFiniteError: if a loss or a gradient became NaN or infinite.
        """
        pending, done = None, start
        for examples in self.loader.calls(start, stop, self.iterations_per_call):
            state, metrics = self._program_for(examples)(state, examples, self.noise_key)
            first, done = done, done + next(iter(metrics.values())).shape[-1]
            # Before observing, which may compile.
            if pending is not None:
                self._read(*pending, report)
            pending = (first, done, metrics, observe(done, state, metrics))
            if should_stop():
                break
        if pending is not None:
            self._read(*pending, report)
        return state, done

    def _read(self, first, last, metrics, observed, report):
        metrics = {name: np.asarray(values) for name, values in metrics.items()}
        check_finite(first, metrics, self.seeds)
        report(last, metrics, observed)
