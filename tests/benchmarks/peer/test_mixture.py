import math

import pytest

from benchmarks.compare import peer_settings
from tests.conftest import tiny_config

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_whole_on_the_floor_and_zero_below_it(dtype):
    """L_p has the gradient -1 / (2 K J) in log sigma^2; at a tie torch.maximum would give half of it."""
    from benchmarks.peer.mixture import Mixture

    settings = peer_settings(tiny_config(), 1)
    mixture = Mixture(settings).to(dtype)
    floor = 2 * math.log(settings.sigma_min)
    with torch.no_grad():
        mixture.log_var.fill_(floor)
        mixture.log_var[0] = floor - 1
        mixture.log_var[1] = floor + 1
    mixture.negative_entropy().backward()
    expected = torch.full_like(mixture.log_var, -0.5 / mixture.log_var.numel())
    expected[0] = 0
    torch.testing.assert_close(mixture.log_var.grad, expected)

    mixture.project()
    mixture.log_var.grad = None
    mixture.negative_entropy().backward()
    torch.testing.assert_close(mixture.log_var.grad, torch.full_like(expected, -0.5 / expected.numel()))
    torch.testing.assert_close(mixture.log_var[0], mixture.log_var[2])
