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


class WorkerError(RuntimeError):
    """A worker ended or failed; the message has the end of what it wrote to stderr."""


class Worker:
    """The parent's side.

    Args:
      command: of the process.
      settings: a JSON value, the first thing that the process reads.
      environment: variables to set in addition.
      patience: seconds after which a process that gives no answer is ended; None waits for ever.
    """

    def __init__(self, command, settings, environment=None, patience=None):
        self._patience = patience
        self._log = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115 (it lives as long as the process)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.facts = self._ask(settings)

    def _ask(self, message):
        with contextlib.suppress(BrokenPipeError):  # it ended: the empty answer below is looked into
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        late = threading.Event()

        def end():
            late.set()
            self._process.kill()

        timer = threading.Timer(self._patience or 0, end)
        if self._patience is not None:
            timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            code = f"{self._process.wait()}{f', {self._patience:.0f} s without an answer' if late.is_set() else ''}"
            self._log.seek(0)
            written = self._log.read()[-3000:]
            self.close()
            raise WorkerError(f"{' '.join(self._process.args)} ended with {code}:\n{written}")
        return json.loads(line)

    def run(self, iterations):
        """Args: iterations. Returns seconds per iteration."""
        return self._ask(iterations)["seconds"] / iterations

    def close(self):
        """Ends the process."""
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()
        self._log.close()


def serve(prepare):
    """The process's side: reads settings, prepares, then times iterations until the pipe closes.

    Args:
      prepare: from the settings to a dictionary of facts about the process and a function of a number of iterations
        that returns the seconds they took.
    """
    # What libraries print must not get into the pipe.
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)

        def reply(value):
            replies.write(json.dumps(value) + "\n")
            replies.flush()

        facts, run = prepare(json.loads(sys.stdin.readline()))
        reply(facts)
        for line in sys.stdin:
            reply({"seconds": run(json.loads(line))})
