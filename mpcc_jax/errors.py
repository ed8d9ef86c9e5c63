"""The errors that a user can cause or repair. The command line prints their message as one line."""

import os
import sys


def program() -> str:
    """Returns how the command line is called here, for messages that say what to run."""
    return "python launch.py" if os.path.basename(sys.argv[0]) == "launch.py" else "mpcc"


def printable(text: str) -> str:
    """Returns text in one line: what cannot be shown, as bytes that are no UTF-8 or control characters, is escaped."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() and char != "\\" else ascii(char)[1:-1] for char in text)


def explain_memory_error(error: RuntimeError) -> str | None:
    """Returns what XLA says of a device without memory, in one line with what to do; None if it is something else."""
    text = " ".join(str(error).split())
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    return (
        f"the device has not enough memory ({text[:200]}). Lower --config.training.batch_size, --config.model.channels "
        "or --config.num_seeds; of a trained model --batch_size."
    )


class MPCCError(Exception):
    """Says which field or file is wrong, what was given, what is allowed and what to do."""

    exit_status = 1


class ConfigError(MPCCError, ValueError):
    """A setting that cannot work, alone or on this machine."""


class DataError(MPCCError, ValueError):
    """Images, labels or statistics that cannot be used."""


class InputError(MPCCError, ValueError):
    """An argument of a function that cannot work."""


class WorkdirError(MPCCError, OSError):
    """A folder or file that cannot be used for results."""


class WeightsError(MPCCError, ValueError):
    """A file of weights that is missing, damaged or of another network."""


class CheckpointError(MPCCError, RuntimeError):
    """A checkpoint that cannot be written or read."""

    exit_status = 3


class NonFiniteError(MPCCError, RuntimeError):
    """A loss or gradient that became NaN or infinite."""

    exit_status = 3
