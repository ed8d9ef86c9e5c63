"""Devices' peaks, and how near a measured time comes to them."""

import math
from collections.abc import Mapping
from typing import NamedTuple


class Device(NamedTuple):
    """FLOP/s by arithmetic, dense, and bytes/s of memory."""

    peaks: Mapping[str, float]
    bandwidth: float


# By `jax.devices()[0].device_kind`. NVIDIA: data sheets of the H100, H200 and A100 Tensor Core GPUs, SXM, and for
# Hopper's fourth digit the H100 architecture white paper. TPU: Google Cloud's pages of each version, per chip; products
# in float32 are made of several in bfloat16 there, and have no peak of their own.
_HOPPER = {"bfloat16": 989.4e12, "tensorfloat32": 494.7e12, "float32": 66.9e12}
_AMPERE = {"bfloat16": 312e12, "tensorfloat32": 156e12, "float32": 19.5e12}
_V5E, _V5P = Device({"bfloat16": 197e12}, 0.819e12), Device({"bfloat16": 459e12}, 2.765e12)
_V6E = Device({"bfloat16": 918e12}, 1.64e12)
DEVICES = {
    "NVIDIA H100 80GB HBM3": Device(_HOPPER, 3.35e12),
    "NVIDIA H200": Device(_HOPPER, 4.8e12),
    "NVIDIA A100-SXM4-80GB": Device(_AMPERE, 2.039e12),
    "NVIDIA A100-SXM4-40GB": Device(_AMPERE, 1.555e12),
    "TPU v4": Device({"bfloat16": 275e12}, 1.228e12),
    "TPU v5 lite": _V5E,
    "TPU v5e": _V5E,
    "TPU v5": _V5P,
    "TPU v5p": _V5P,
    "TPU v6 lite": _V6E,
    "TPU v6e": _V6E,
}
# By `config.training.precision`: bytes of an activation, and the arithmetic whose peak counts.
ARITHMETIC = {"float32": (4, "float32"), "tf32": (4, "tensorfloat32"), "bfloat16": (2, "bfloat16")}


def peak_of(kind: str, arithmetic: str) -> float | None:
    """The peak of a device in FLOP/s, None if it is not in the table."""
    return DEVICES[kind].peaks.get(arithmetic) if kind in DEVICES else None


def shortest(works: Mapping, flop_rate: float, bandwidth: float = math.inf) -> float:
    """Seconds below which no iteration comes: in every phase (`Work` by name) the longer of arithmetic and memory."""
    return sum(max(work.flop / flop_rate, work.bytes / bandwidth) for work in works.values())


def utilisation(flop: float, seconds: float, peak: float) -> float:
    """The share of a device's peak FLOP/s that was used."""
    if not (seconds > 0 and peak > 0):
        raise ValueError(f"seconds is {seconds} and peak is {peak}; both must be numbers above 0.")
    return flop / (seconds * peak)
