"""The command line: `main` runs the subcommand that the arguments name."""

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from mpcc_jax.cli.arguments import parse_arguments
from mpcc_jax.errors import MPCCError, explain_memory_error, printable


class _Output:
    """Standard output that no command fails by: closed, full, of another encoding, or with nobody who reads it."""

    def __init__(self, stream: TextIO | None):
        self._stream = stream
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        return self._try("write", text) or len(text)

    def flush(self) -> None:
        self._try("flush")

    def isatty(self) -> bool:
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        return os.open(os.devnull, os.O_WRONLY) if self._stream is None else self._stream.fileno()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _try(self, method: str, *arguments: str) -> int | None:
        if self._stream is None:
            return None
        try:
            return getattr(self._stream, method)(*arguments)
        except (OSError, ValueError):
            # What Python has not written yet, it writes at the end of the process.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            self._stream = None
            return None


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand, and returns the exit status. Mistakes of the user are printed as one line.

    Args:
      argv: the command line without the program; None takes that of the process.
    """
    with contextlib.redirect_stdout(_Output(sys.stdout)):
        try:
            return _run(list(sys.argv[1:] if argv is None else argv))
        except MPCCError as error:
            sentence, status = str(error), error.exit_status
        except RuntimeError as error:  # of XLA
            sentence, status = explain_memory_error(error), 1
            if sentence is None:
                raise
    print(f"error: {printable(sentence)}", file=sys.stderr)
    return status


def _run(argv: list[str]) -> int:
    command, arguments = parse_arguments(argv)
    # Not at the top: jax takes seconds, which help and wrong flags do without.
    from mpcc_jax.cli import commands
    from mpcc_jax.compilation import keep_programs, leave_loops_rolled

    leave_loops_rolled()
    keep_programs()
    path = getattr(commands, command.replace("-", "_"))(**arguments)
    if path is not None:
        print(f"written: {printable(str(path))}")
    sys.stdout.flush()
    return 0
