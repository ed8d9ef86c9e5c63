import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.model import discriminate
from tests.conftest import random_variables
from tests.networks.references import make_model


@pytest.mark.parametrize("conditional", [False, True])
def test_only_the_projection_reads_labels(conditional):
    model = make_model(conditional=conditional)
    params, buffers = random_variables(model)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    first, second = (discriminate(model, params, buffers, images, jnp.full(2, y), train=False)[0] for y in (0, 1))
    assert np.allclose(first, second) != conditional
