"""Pre-emption: SIGTERM asks a run to save and stop."""

import contextlib
import signal
import threading


@contextlib.contextmanager
def catch_sigterm():
    """While it is open, SIGTERM only sets a flag. Outside of the main thread, signals are left alone.

    Yields:
      Function that tells whether the signal has come.
    """
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    before = signal.signal(signal.SIGTERM, lambda *_: requested.set())
    try:
        yield requested.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
