"""The benchmark runs."""

from benchmarks.iteration import measure
from tests.conftest import tiny_config


def test_the_benchmark_runs(capsys):
    medians = measure(tiny_config(), 1, rounds=1, iterations=2)
    assert set(medians) == {"iteration", "numpy", "jax"}
    output = capsys.readouterr().out
    assert "compiling" in output
    assert "NumPy matmul" in output
