"""The program in a process with a fault: python -m tests.faults KIND NUMBER launch.py's arguments.

KIND "kill" ends the process by SIGKILL at the NUMBER-th change of a file or folder below checkpoints/, "full" is a disk
that is full from then on; "clock" is a clock that is twelve days slow, "none" no fault. The changes are told on
standard error.
"""

import errno
import os
import signal
import sys
import time

CHANGES = ("os.mkdir", "os.rename", "os.remove")


def install(kind, number):
    """Watches every change below checkpoints/ by Python's audit events, which come before it is made."""
    changes = 0

    def watch(event, arguments):
        nonlocal changes
        if event not in CHANGES and not (event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]):
            return
        path = os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else ""
        if "/checkpoints/" not in path:
            return
        changes += 1
        os.write(2, f"change {changes}: {event} {path.partition('/checkpoints/')[2]}\n".encode())
        if changes == number and kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if changes >= number and kind == "full" and event != "os.remove":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    sys.addaudithook(watch)


if __name__ == "__main__":
    fault, at, *words = sys.argv[1:]
    if fault == "clock":
        now = time.time
        time.time = lambda: now() - 1e6
    install(fault, int(at))
    from mpcc_jax.cli import main

    sys.exit(main(words))
