import math

import numpy as np
import pytest

from benchmarks.compare import peer_settings
from tests.conftest import tiny_config

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_gradient_is_whole_on_the_floor_and_zero_below_it(dtype):
    """L_p has the gradient -1 / (2 K J) in log sigma^2; at a tie torch.maximum would give half of it."""
    from benchmarks.peer.mixture import Mixture

    settings = peer_settings(tiny_config(), 1)
    mixture, floor = Mixture(settings).to(dtype), 2 * math.log(settings.sigma_min)
    slope = -0.5 / mixture.log_var.numel()
    with torch.no_grad():
        mixture.log_var.copy_(torch.tensor([floor - 1, floor + 1, floor], dtype=dtype)[:, None])
    mixture.negative_entropy().backward()
    np.testing.assert_allclose(mixture.log_var.grad[:, 0], [0, slope, slope], rtol=1e-6)

    mixture.project()
    mixture.zero_grad()
    mixture.negative_entropy().backward()
    np.testing.assert_allclose(mixture.log_var.grad[:, 0], [slope] * 3, rtol=1e-6)
