"""The log of a run: a JSON object per line, and event files for TensorBoard, both readable after a crash."""

import json

import numpy as np

from mpcc_jax.workdir import open_log

QUEUE_SIZE = 1000
GROUPS = ("gradient_norm", "spectral_norm", "prior_sigma", "probe", "alarm")


def _tag(name):
    """TensorBoard draws what has a common prefix side by side."""
    group = next((group for group in GROUPS if name.startswith(group + "_")), None)
    return name if group is None else f"{group}/{name[len(group) + 1 :]}"


class RunLog:
    """Writes metrics.jsonl and tensorboard/ of a working directory; with several seeds, a curve for each."""

    def __init__(self, workdir, start=0, seeds=None, *, tensorboard=True):
        """Opens the log, cut back to what is kept.

        Args:
          workdir: `pathlib.Path`.
          start: iterations that are done; what was logged after them is dropped, since it will be done again.
          seeds: of the runs, if there are several.
          tensorboard: whether to write event files.
        """
        self._file = open_log(workdir / "metrics.jsonl", start)
        self._seeds, self._events = seeds, []
        if tensorboard:
            from tensorboardX import SummaryWriter

            folders = [workdir / "tensorboard" / f"seed_{seed}" for seed in seeds or ()] or [workdir / "tensorboard"]
            settings = {
                "purge_step": start + 1 if start else None,
                "filename_suffix": f".from_{start}",
                # A thread writes; a crash costs a second of events at most.
                "max_queue": QUEUE_SIZE,
                "flush_secs": 1,
            }
            self._events = [SummaryWriter(str(folder), **settings) for folder in folders]

    def write(self, iteration, values, run=0):
        """Adds a line.

        Args:
          iteration: finished iterations.
          values: by name; numbers, and what else JSON can hold.
          run: which of several.
        """
        seed = {"seed": self._seeds[run]} if self._seeds else {}
        self._file.write(json.dumps({"iteration": iteration, **seed, **values}) + "\n")
        self._file.flush()
        if self._events:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._events[run].add_scalar(_tag(name), value, iteration)

    def write_picture(self, iteration, name, picture, run=0):
        """Adds a picture to the event files.

        Args:
          iteration: finished iterations.
          name: what it shows.
          picture: uint8, [H, W, C] with one or three channels.
          run: which of several.
        """
        if self._events:
            self._events[run].add_image(name, np.asarray(picture), iteration, dataformats="HWC")

    def close(self):
        """Writes what is left."""
        self._file.close()
        for events in self._events:
            events.close()
