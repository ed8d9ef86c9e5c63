from benchmarks.rewrites import measure
from tests.conftest import tiny_config


def test_it_runs(capsys):
    times = measure(tiny_config(), 1, rounds=2, iterations=1, switches=("pool_first",))
    assert {value: len(seconds) for value, seconds in times["pool_first"].items()} == {True: 2, False: 2}
    assert "pool_first" in capsys.readouterr().out
