"""What all benchmarks share: turns of several programs, and how their numbers and the machine are written."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def alternate(
    turns: Mapping[str, Callable[[], float]], rounds: int, warm_up: int = 1, *, progress: bool = False
) -> dict[str, list[float]]:
    """Runs one turn of each program per round, in an order that rotates, and returns what the turns return.

    A machine that slows down slows all of them, so ratios are to be read within a round. Warm-up rounds are dropped.
    """
    names, values = list(turns), {name: [] for name in turns}
    for round_number in range(warm_up + rounds):
        shift = round_number % len(names)
        for name in names[shift:] + names[:shift]:
            values[name].append(turns[name]())
            if progress:
                print(f"round {round_number + 1} of {warm_up + rounds}: {name} {values[name][-1]:.3f}", flush=True)
    return {name: series[warm_up:] for name, series in values.items()}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Minimum, median and maximum as text."""
    return "  ".join(f"{value:.{digits}f}" for value in (min(values), float(np.median(values)), max(values)))


def ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Quotients by round."""
    return [value / other for value, other in zip(values, base, strict=True)]


def describe_machine() -> dict[str, object]:
    """Date, device, processor and versions; starts JAX's backend."""
    device = jax.devices()[0]
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "device": device.device_kind,
        "platform": device.platform,
        "devices": len(jax.devices()),
        "memory_bytes": (device.memory_stats() or {}).get("bytes_limit"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def print_heading(config, image_channels: int) -> None:
    """Prints the machine, and the sizes of a configuration."""
    model, training, size = config.model, config.training, config.data.resolution
    print(", ".join(f"{name} {value}" for name, value in describe_machine().items() if value is not None))
    print(
        f"C = {model.channels}, J = {model.latent_dim}, K = {model.num_clusters}, B = {training.batch_size}, "
        f"{size}x{size}x{image_channels}, {training.discriminator_steps} D + 1 G + {training.encoder_steps} E steps, "
        f"{model.conditioning}, {config.variant}, {training.precision}"
    )
