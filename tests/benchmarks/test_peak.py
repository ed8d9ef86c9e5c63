import jax
import pytest

from benchmarks.flops import Work
from benchmarks.peak import DEVICES, peak_of, shortest, utilisation


def test_the_floor_takes_the_longer_of_arithmetic_and_memory_in_every_phase():
    works = {"first": Work(multiply_adds=50, bytes=10), "second": Work(multiply_adds=5, bytes=30)}
    assert shortest(works, flop_rate=10, bandwidth=2) == 10 + 15
    assert shortest(works, flop_rate=10) == 11


def test_utilisation():
    assert utilisation(flop=3e12, seconds=2.0, peak=6e12) == 0.25
    with pytest.raises(ValueError, match="seconds is 0"):
        utilisation(1.0, 0, 1.0)


def test_the_table_of_devices():
    """A tensor core multiplies bfloat16 twice as fast as tensorfloat32; a CPU has no entry."""
    assert peak_of(jax.devices()[0].device_kind, "float32") is None
    assert peak_of("TPU v4", "bfloat16") == 275e12
    assert peak_of("TPU v4", "float32") is None
    for kind, device in DEVICES.items():
        if kind.startswith("NVIDIA"):
            assert device.peaks["bfloat16"] == 2 * device.peaks["tensorfloat32"] > 4 * device.peaks["float32"]
        assert 0.5e12 < device.bandwidth < 1e13
