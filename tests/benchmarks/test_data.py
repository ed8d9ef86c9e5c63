from benchmarks.data import measure
from tests.conftest import tiny_config


def test_it_runs():
    rates = measure(tiny_config(), 1, count=40, calls=2, rounds=2, training=False)
    assert set(rates) == {"device", "stream"}
    assert min(rates.values()) > 0
