"""What a stage is given: where its results go, how long it has, and what it runs on."""

import contextlib
import importlib.metadata
import json
import pathlib
import platform
import subprocess
import time
import traceback

RESULTS = "results.jsonl"
PACKAGES = (
    *("jax", "jaxlib", "jax-cuda12-plugin", "jax-cuda13-plugin", "flax", "optax", "chex", "orbax-checkpoint", "numpy"),
    *("torch", "triton", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime", "nvidia-cublas-cu12", "nvidia-cublas"),
    *("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
)
OUT_OF_TIME = "not run: out of time"


class NoAcceleratorError(RuntimeError):
    """jax found no GPU: nothing that is measured here would mean anything."""


def append(out, record):
    """Writes a result at once: what comes later may crash.

    Args:
      out: folder of results.
      record: a JSON value.
    """
    with open(pathlib.Path(out) / RESULTS, "a") as file:
        file.write(json.dumps(record) + "\n")


def read(out):
    """Args: out, folder of results. Returns all records so far; a line that was cut off by a crash is left out."""
    path, records = pathlib.Path(out) / RESULTS, []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return records


class Session:
    """One stage's run.

    Attributes:
      stage: its name.
      out: folder of results.
      tiny: whether everything is tiny and on CPU.
      peer_python: the interpreter that has torch.
    """

    def __init__(self, stage, out, seconds, tiny, peer_python):
        """Args: as the attributes; seconds, that the stage has."""
        self.stage, self.out, self.tiny, self.peer_python = stage, pathlib.Path(out), tiny, peer_python
        self._end = time.monotonic() + seconds

    def remaining(self):
        """Returns the seconds left."""
        return self._end - time.monotonic()

    def emit(self, kind, **values):
        """Writes a result. Args: kind; values, JSON. Prints it too, shortened."""
        append(self.out, {"kind": kind, "stage": self.stage, **values})
        print(f"[{self.stage}] {kind} {json.dumps(values)[:300]}", flush=True)

    @contextlib.contextmanager
    def attempt(self, kind, needs, **labels):
        """Guards one measurement: without time for it, or if it fails, that is its result and the others go on.

        Args:
          kind: of the result.
          needs: seconds that must be left for it to start.
          labels: what the measurement is of.

        Yields:
          Whether to measure: `with session.attempt(...) as go: if go: ...`.
        """
        go = self.remaining() >= needs or self.tiny
        try:
            yield go
            if not go:
                self.emit(kind, **labels, error=f"{OUT_OF_TIME} ({self.remaining():.0f} s left, {needs:.0f} s needed)")
        except Exception as error:  # whatever it is, the next measurement is worth trying
            traceback.print_exc()
            self.emit(kind, **labels, error=_shorten(f"{type(error).__name__}: {error}"))


def _shorten(text):
    """Beginning and end of a message: one has the cause for jax, the other for a traceback of the peer."""
    return text if len(text) < 2000 else f"{text[:700]} [...] {text[-1200:]}"


def _driver():
    command = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit,clocks.max.sm", "--format=csv"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"not readable: {type(error).__name__}"
    return done.stdout.strip()


def _versions():
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def describe():
    """The machine and the versions; starts jax's backend.

    Returns:
      A JSON value.
    """
    import jax

    device = jax.devices()[0]
    memory = (device.memory_stats() or {}).get("bytes_limit")
    return {
        "device_kind": device.device_kind,
        "platform": device.platform,
        "devices": len(jax.devices()),
        "memory_limit": memory,
        "platform_version": " ".join(device.client.platform_version.split()),
        "driver": _driver() if device.platform == "gpu" else None,
        "machine": platform.machine(),
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "versions": _versions(),
    }


def check_device(session):
    """Says what the stage runs on, once for all stages.

    Args:
      session: the `Session`.

    Raises:
      NoAcceleratorError: if there is no GPU and it is not a tiny run.
    """
    import jax

    if jax.devices()[0].platform != "gpu" and not session.tiny:
        raise NoAcceleratorError(
            f"jax has {jax.devices()}, no GPU: install jax[cuda12] or jax[cuda13], or try the suite with --tiny."
        )
    if not any(record["kind"] == "hardware" for record in read(session.out)):
        session.emit("hardware", **describe())
