from benchmarks.rewrites import measure
from tests.conftest import tiny_config


def test_it_runs(capsys):
    times = measure(tiny_config(), 1, rounds=2, iterations=1, switches=("pooled_kernel",))
    assert {value: len(seconds) for value, seconds in times["pooled_kernel"].items()} == {True: 2, False: 2}
    assert "pooled_kernel" in capsys.readouterr().out
