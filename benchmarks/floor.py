"""Devices' peaks, and how near a measured time comes to them."""

import collections

# FLOP/s by arithmetic, dense, and bytes/s of memory, by `jax.devices()[0].device_kind`. From NVIDIA's data sheets of
# the H100, H200 and A100 Tensor Core GPUs, SXM, and for Hopper's fourth digit the H100 architecture white paper. A CPU
# has none: its peak is measured, as a matmul (`python -m benchmarks.iteration`).
Device = collections.namedtuple("Device", "peaks bandwidth")
_HOPPER = {"bfloat16": 989.4e12, "tensorfloat32": 494.7e12, "float32": 66.9e12}
_AMPERE = {"bfloat16": 312e12, "tensorfloat32": 156e12, "float32": 19.5e12}
DEVICES = {
    "NVIDIA H100 80GB HBM3": Device(_HOPPER, 3.35e12),
    "NVIDIA H200": Device(_HOPPER, 4.8e12),
    "NVIDIA A100-SXM4-80GB": Device(_AMPERE, 2.039e12),
}


def shortest(works, flop_rate, bandwidth):
    """Seconds below which no iteration comes: in every phase the longer of arithmetic and memory.

    Args:
      works: `Work` by phase.
      flop_rate: the device's peak, FLOP/s.
      bandwidth: of its memory, bytes/s.

    Returns:
      Seconds.
    """
    return sum(max(work.flop / flop_rate, work.bytes / bandwidth) for work in works.values())


def utilisation(flop, seconds, peak):
    """The share of a device's peak that was used.

    Args:
      flop: of the work.
      seconds: that it took.
      peak: of the device, FLOP/s.

    Returns:
      A fraction.

    Raises:
      ValueError: if seconds or peak are not above 0.
    """
    if not (seconds > 0 and peak > 0):
        raise ValueError(f"seconds is {seconds} and peak is {peak}; both must be numbers above 0.")
    return flop / (seconds * peak)
