"""The log of a run: JSON lines and event files for TensorBoard, both readable after a crash."""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np
from ml_collections import ConfigDict
from tensorboardX import SummaryWriter

from mpcc_jax import report
from mpcc_jax.model import Model
from mpcc_jax.training.metrics import (
    SHEET_COLUMNS,
    Alarms,
    Window,
    choose_latents,
    compile_on_state,
    draw_samples,
    inspect,
    probe_size,
)
from mpcc_jax.training.sharding import Layout, select_seed
from mpcc_jax.training.state import TrainState
from mpcc_jax.workdir import replace_file

QUEUE_SIZE = 1000
GROUPS = ("gradient_norm", "spectral_norm", "prior_sigma", "probe", "alarm")


def open_log(path: Path, iteration: int) -> TextIO:
    """Opens metrics.jsonl to append to, cut back to the lines up to an iteration."""
    lines = []
    if iteration and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            # A kill may leave half a line.
            with contextlib.suppress(ValueError):
                if json.loads(line)["iteration"] <= iteration:
                    lines.append(line + "\n")
    with replace_file(path) as file:
        file.write("".join(lines).encode())
    return open(path, "a", encoding="utf-8")


def _tag(name: str) -> str:
    """TensorBoard draws what has a common prefix side by side."""
    group = next((group for group in GROUPS if name.startswith(group + "_")), None)
    return name if group is None else f"{group}/{name[len(group) + 1 :]}"


class RunLog:
    """Writes metrics.jsonl and tensorboard/ of a run; with several seeds, a curve for each."""

    def __init__(self, workdir: Path, start: int = 0, seeds: Sequence[int] | None = None, *, tensorboard: bool = True):
        """Opens the log, cut back to iteration `start`; `seeds` are given if there are several."""
        self._file = open_log(workdir / "metrics.jsonl", start)
        self._seeds, self._events = seeds, []
        if tensorboard:
            folders = [workdir / "tensorboard" / f"seed_{seed}" for seed in seeds or ()] or [workdir / "tensorboard"]
            settings = {
                "purge_step": start + 1 if start else None,
                "filename_suffix": f".from_{start}",
                # A thread writes; a crash costs a second of events at most.
                "max_queue": QUEUE_SIZE,
                "flush_secs": 1,
            }
            self._events = [SummaryWriter(str(folder), **settings) for folder in folders]

    def write(self, iteration: int, values: dict[str, Any], run: int = 0) -> None:
        """Adds a line for one of the seeds."""
        seed = {"seed": self._seeds[run]} if self._seeds else {}
        self._file.write(json.dumps({"iteration": iteration, **seed, **values}) + "\n")
        self._file.flush()
        if self._events:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events[run].add_scalar(_tag(name), value, iteration)

    def write_picture(self, iteration: int, name: str, picture: np.ndarray, run: int = 0) -> None:
        """Adds a picture, [H, W, C], to the event files."""
        if self._events:
            self._events[run].add_image(name, np.asarray(picture), iteration, dataformats="HWC")

    def close(self) -> None:
        """Writes what is left."""
        self._file.close()
        for events in self._events:
            events.close()


def memory_in_use() -> dict[str, int]:
    """Returns the peak memory of this process and of its first device, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    used = {"host_memory_peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    statistics = jax.local_devices()[0].memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        used["device_memory_peak_bytes"] = statistics["peak_bytes_in_use"]
    return used


class Monitor:
    """Measures a run after its calls, without waiting for the device, and writes lines and sample sheets when due."""

    def __init__(
        self,
        config: ConfigDict,
        model: Model,
        layout: Layout,
        images: np.ndarray,
        key: jax.Array,
        start: int,
        log: RunLog | None,
        warn: Callable[[str], None],
    ):
        """Chooses the probe among the images and the fixed latents; `log` is None where another process writes."""
        size = probe_size(model.prior.num_components, len(images))
        probe = np.ascontiguousarray(images[np.linspace(0, len(images) - 1, size).astype(np.int64)])
        self._probe = layout.place(probe, layout.replicated)
        self._latents = layout.place_tree(choose_latents(model, key))
        self._inspect = compile_on_state(inspect, model, layout)
        self._draw = compile_on_state(draw_samples, model, layout)
        self._config, self._log, self._warn = config, log, warn
        self._window, self._num_seeds = Window(layout.num_seeds), layout.num_seeds
        self._alarms = [Alarms(config) for _ in range(layout.num_seeds)]
        self._logged = self._drawn = start
        self._mark, self._inspected = None, False

    def _due(self, iteration: int, before: int, every: int) -> bool:
        last = iteration == self._config.training.iterations
        return bool(every) and (iteration // every > before // every or last)

    def observe(self, iteration: int, state: TrainState, metrics: dict[str, jax.Array]) -> tuple:
        """Takes the metrics of a call, and dispatches a look at the state if a line or a sheet is due."""
        self._window.add(metrics)
        line = sheet = None
        if self._due(iteration, self._logged, self._config.logging.every):
            self._logged = iteration
            line = {**self._window.read(), **self._inspect(state, self._probe)}
            if not self._inspected:  # that compiled, so this line has no speed
                self._mark, self._inspected = None, True
        if self._config.logging.tensorboard and self._due(iteration, self._drawn, self._config.logging.images_every):
            self._drawn = iteration
            sheet = self._draw(state, self._latents)
        return line, sheet

    def write(self, iteration: int, observed: tuple) -> None:
        """Writes the line and the sheet of `observe`, if there are any."""
        line, sheet = observed
        rates = self._rates(iteration) if line is not None else self._start_clock(iteration)
        if self._log is None:
            return
        line = jax.device_get(line)
        for run in range(self._num_seeds):
            if line is not None:
                self._write_line(iteration, self._of_run(line, run), rates, run)
            if sheet is not None:
                images = self._of_run(np.asarray(sheet), run)
                picture = np.round(255 * report.tile(images, SHEET_COLUMNS)).astype(np.uint8)
                self._log.write_picture(iteration, "samples", picture, run)

    def _of_run(self, tree: Any, run: int) -> Any:
        return select_seed(tree, run) if self._num_seeds > 1 else tree

    def _write_line(self, iteration: int, values: dict[str, Any], rates: dict[str, float], run: int) -> None:
        values = {name: float(value) for name, value in values.items()}
        flags, sentences = self._alarms[run].check(iteration, values)
        for sentence in sentences:
            self._warn((f"seed {self._config.seed + run}, " if self._num_seeds > 1 else "") + sentence)
        settings = {name: self._config.training[name] for name in ("learning_rate", "prior_learning_rate")}
        self._log.write(iteration, {**values, **settings, **rates, **flags}, run)

    def _start_clock(self, iteration: int) -> None:
        if self._mark is None:  # the first call compiles
            self._mark = (iteration, time.monotonic())

    def _rates(self, iteration: int) -> dict[str, float]:
        """Speed since the line before, and memory."""
        mark, self._mark = self._mark, (iteration, time.monotonic())
        if mark is None:
            return memory_in_use()
        training = self._config.training
        rate = (iteration - mark[0]) / (self._mark[1] - mark[1])
        images = training.discriminator_steps * training.batch_size * self._num_seeds
        return {"iterations_per_second": rate, "images_per_second": rate * images, **memory_in_use()}
