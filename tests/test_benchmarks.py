"""The floor that speed is measured against, and that the benchmark runs."""

import pytest

from benchmarks.iteration import measure, multiply_adds
from configs import cifar10, mnist
from tests.conftest import tiny_config


@pytest.mark.parametrize(
    ("experiment", "image_channels", "expected"),
    [(mnist, 1, 0.215e12), (cifar10, 3, 13.65e12)],
)
def test_published_work_of_an_iteration(experiment, image_channels, expected):
    """Twice the multiply-adds; the shares for CIFAR-10 are those measured in the design: D 54, E 34, G 12 %."""
    work = multiply_adds(experiment.get_config(), image_channels)
    total = sum(work.values())
    assert 2 * total == pytest.approx(expected, rel=2e-3)
    if experiment is cifar10:
        assert [round(100 * part / total) for part in work.values()] == [54, 12, 34]


def test_the_work_of_a_tiny_network_by_hand():
    """8x8, C = 1 (4 maps), J = 8, B = 1, one step of each: every layer written out."""
    config = tiny_config()
    config.training.update({"batch_size": 1, "discriminator_steps": 1, "encoder_steps": 1})
    generator = 8 * 64 + (2 * 9 * 16 + 16) * 64 + 9 * 4 * 64
    trunk = (9 * 4 + 9 * 16 + 4) * 64 + 2 * (2 * 9 * 16 * 16)
    discriminator = trunk + 2 * 9 * 16 * 16 + 4
    head = 2 * 9 * 16 * 16 + (2 * 9 * 16 + 16) * 16 + 2 * 9 * 16 * 4 + 2 * (16 * 8 + 8 * 8)
    assert multiply_adds(config, 1) == {
        "discriminator": generator + 6 * discriminator,
        "generator": 3 * generator + 2 * discriminator,
        "encoder": generator + 3 * (trunk + head),
    }


def test_the_benchmark_runs(capsys):
    medians = measure(tiny_config(), 1, rounds=1, iterations=2)
    assert set(medians) == {"iteration", "numpy", "jax"}
    output = capsys.readouterr().out
    assert "compiling" in output
    assert "NumPy matmul" in output
