"""The command line: `main` runs the subcommand that the arguments name."""

import os
import sys
from collections.abc import Sequence

from mpcc_jax.cli.arguments import parse_arguments
from mpcc_jax.errors import MPCCError, explain_device_error


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand, and returns the exit status. Mistakes of the user are printed as one line.

    Args:
      argv: the command line without the program; None takes that of the process.
    """
    try:
        command, arguments = parse_arguments(list(sys.argv[1:] if argv is None else argv))
        # Not at the top: jax takes seconds, which help and wrong flags do without.
        from mpcc_jax.cli import commands
        from mpcc_jax.compilation import keep_programs

        keep_programs()
        path = getattr(commands, command.replace("-", "_"))(**arguments)
        if path is not None:
            print(f"written: {path}")
    except MPCCError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except RuntimeError as error:  # of jax and XLA
        sentence = explain_device_error(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads the output has enough, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
