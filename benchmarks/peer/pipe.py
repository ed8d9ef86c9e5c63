"""A process that stays alive, waits without working, and times its iterations when it is told to.

Both sides of the pipe speak JSON lines. Nothing heavy is imported here.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any


class WorkerError(RuntimeError):
    """A worker ended or failed; the message has the end of what it wrote to stderr."""


class Worker:
    """The parent's side.

    Attributes:
        facts: what the process said of itself when it was ready.
        processor_seconds: of one iteration, of all its threads, for each run.
    """

    def __init__(
        self,
        command: Sequence[str],
        settings: Any,
        environment: Mapping[str, str] | None = None,
        patience: float | None = None,
    ):
        """Starts the process, and waits until it is ready.

        Args:
            command: of the process.
            settings: a JSON value, the first thing that the process reads.
            environment: variables to set in addition.
            patience: seconds after which a process that gives no answer is ended; None waits for ever.
        """
        self._patience, self.processor_seconds = patience, []
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (it lives as long as the process)
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._log, "text": True}
        self._process = subprocess.Popen(command, **pipes, env={**os.environ, **(environment or {})})
        self.facts = self._ask(settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ask(self, message):
        with contextlib.suppress(BrokenPipeError):  # it ended: the empty answer below says why
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        timer = threading.Timer(self._patience or 0, self._process.kill)
        if self._patience is not None:
            timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            code = self._process.wait()
            self._log.seek(0)
            end_of_log = self._log.read()[-3000:]
            self.close()
            late = f", perhaps after its {self._patience:.0f} s" if code == -9 and self._patience is not None else ""
            raise WorkerError(f"{' '.join(self._process.args)} ended with {code}{late}:\n{end_of_log}")
        return json.loads(line)

    def run(self, iterations: int) -> float:
        """Runs iterations, and returns the seconds of one."""
        answer = self._ask(iterations)
        self.processor_seconds.append(answer["processor_seconds"] / iterations)
        return answer["seconds"] / iterations

    def close(self) -> None:
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()


def serve(prepare: Callable[[Any], tuple[dict[str, Any], Callable[[int], float]]]) -> None:
    """The process's side: reads settings, prepares, then times iterations until the pipe closes.

    Args:
        prepare: from the settings to facts about the process, and a function from a number of iterations to their
            seconds.
    """
    # What libraries print must not get into the pipe.
    with os.fdopen(os.dup(1), "w", buffering=1) as replies:
        os.dup2(2, 1)
        facts, run = prepare(json.loads(sys.stdin.readline()))
        replies.write(json.dumps(facts) + "\n")
        for line in sys.stdin:
            before, seconds = time.process_time(), run(json.loads(line))
            answer = {"seconds": seconds, "processor_seconds": time.process_time() - before}
            replies.write(json.dumps(answer) + "\n")
