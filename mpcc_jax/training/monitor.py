"""Watches a run: what is measured after which call, and where it goes. Nothing here waits for the device."""

import functools
import resource
import sys
import time

import jax
import numpy as np

from mpcc_jax import report
from mpcc_jax.compilation import compiler_options
from mpcc_jax.prior import Latents, draw_latents
from mpcc_jax.training.metrics import Alarms, Window, draw_samples, inspect, probe_size
from mpcc_jax.training.sharding import member

SHEET_CLUSTERS = 32
SHEET_COLUMNS = 8


def _choose_latents(prior, key):
    """The fixed draws behind the sample sheets: a row per component."""
    rows = np.linspace(0, prior.num_components - 1, min(prior.num_components, SHEET_CLUSTERS)).astype(np.int32)
    y = np.repeat(rows, SHEET_COLUMNS)
    draw = jax.jit(lambda key: draw_latents(key, y.shape, prior).eps)  # in one program, without the y that it draws
    return Latents(y, np.asarray(draw(key)))


def memory_in_use():
    """Memory that this process has needed at most.

    Returns:
      Bytes by name: "host_memory_peak_bytes", and "device_memory_peak_bytes" where devices tell (not on CPU).
    """
    unit = 1 if sys.platform == "darwin" else 1024
    used = {"host_memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        used["device_memory_peak_bytes"] = statistics["peak_bytes_in_use"]
    return used


class Monitor:
    """What a `Trainer` reports to.

    `observe` dispatches programs behind a call that is still running; `report`, one call later, reads their results.
    """

    def __init__(self, config, algorithm, layout, images, key, start, log, progress, warn):
        """Prepares the probe and the fixed latents.

        Args:
          config: the configuration.
          algorithm: the `Algorithm`.
          layout: the `Layout`.
          images: of the data set, uint8, [N, H, W, C]; an even choice of them is clustered for every line.
          key: PRNG key of the latents behind the sample sheets.
          start: finished iterations.
          log: a `RunLog`; None writes nothing (processes other than the first).
          progress: a `TrainingProgress`.
          warn: called with a sentence for every alarm.
        """
        model, several = algorithm.model, layout.num_seeds > 1
        size = probe_size(model.prior.num_components, len(images))
        probe = np.ascontiguousarray(images[np.linspace(0, len(images) - 1, size).astype(np.int64)])
        look, draw = functools.partial(inspect, model), functools.partial(draw_samples, model)
        if several:
            look, draw = jax.vmap(look, in_axes=(0, None)), jax.vmap(draw, in_axes=(0, None))
        options = {"out_shardings": layout.replicated, "compiler_options": compiler_options()}
        self._look, self._draw = (jax.jit(program, **options) for program in (look, draw))
        self._probe = layout.place(probe, layout.replicated)
        latents = _choose_latents(model.prior, key)
        self._latents = layout.place_tree(latents)
        self._config, self._log, self._progress, self._warn = config, log, progress, warn
        self._window, self._several, self._num_seeds = Window(layout.num_seeds), several, layout.num_seeds
        self._alarms = [Alarms(config) for _ in range(layout.num_seeds)]
        self._logged = self._drawn = start
        self._mark, self._looked = None, False

    def _due(self, done, before, every):
        return bool(every) and (done // every > before // every or done == self._config.training.iterations)

    def observe(self, done, state, metrics):
        """Takes the metrics of a call, and looks at the state if a line or a sheet is due.

        Args:
          done: finished iterations.
          state: the `TrainState`, perhaps of several runs.
          metrics: by name, on the device, each [(seeds,) iterations].

        Returns:
          What `report` reads.
        """
        self._window.add(metrics)
        line = sheet = None
        if self._due(done, self._logged, self._config.logging.every):
            self._logged = done
            line = {**self._window.read(), **self._look(state, self._probe)}
            if not self._looked:  # that compiled, so this line has no speed
                self._mark, self._looked = None, True
        if self._config.logging.tensorboard and self._due(done, self._drawn, self._config.logging.images_every):
            self._drawn = done
            sheet = self._draw(state, self._latents)
        return line, sheet

    def report(self, done, metrics, observed):
        """Shows progress, and writes the line and the sheet if there are any.

        Args:
          done: finished iterations.
          metrics: by name, NumPy, each [(seeds,) iterations of the call].
          observed: from `observe`.
        """
        line, sheet = observed
        self._progress.advance(done, {name: float(np.mean(values[..., -1])) for name, values in metrics.items()})
        rates = self._rates(done) if line is not None else self._start_clock(done)
        if self._log is None:
            return
        for run in range(self._num_seeds):
            if line is not None:
                values = jax.tree.map(lambda x: float(x[run] if self._several else x), jax.device_get(line))  # noqa: B023
                flags, sentences = self._alarms[run].check(done, values)
                for sentence in sentences:
                    self._warn((f"seed {self._config.seed + run}, " if self._several else "") + sentence)
                self._log.write(done, {**values, **self._settings(), **rates, **flags}, run)
            if sheet is not None:
                images = member(np.asarray(sheet), run) if self._several else np.asarray(sheet)
                picture = np.round(255 * report.tile(images, SHEET_COLUMNS)).astype(np.uint8)
                self._log.write_picture(done, "samples", picture, run)

    def _settings(self):
        training = self._config.training
        return {"learning_rate": training.learning_rate, "prior_learning_rate": training.prior_learning_rate}

    def _start_clock(self, done):
        if self._mark is None:  # the first call compiles
            self._mark = (done, time.monotonic())

    def _rates(self, done):
        """Speed since the line before, and memory."""
        mark, self._mark = self._mark, (done, time.monotonic())
        if mark is None:
            return memory_in_use()
        training = self._config.training
        rate = (done - mark[0]) / (self._mark[1] - mark[1])
        images = training.discriminator_steps * training.batch_size * self._num_seeds
        return {"iterations_per_second": rate, "images_per_second": rate * images, **memory_in_use()}
