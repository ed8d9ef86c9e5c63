from benchmarks.prediction import measure
from tests.conftest import tiny_config


def test_it_runs():
    times = measure(tiny_config(), count=20, batch_size=10, rounds=2)
    assert {name: len(seconds) for name, seconds in times.items()} == {"predict": 2, "matmul": 2}
