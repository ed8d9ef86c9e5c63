"""Models: what makes two of them equal, whose parts are whose."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.model import encode
from tests.conftest import random_variables
from tests.networks.references import make_model


def test_equal_configurations_make_equal_models():
    """So that programs which are cached by their model compile once."""
    model, twin, other = (make_model(power_iterations=count) for count in (1, 1, 2))
    assert model == twin
    assert hash(model) == hash(twin)
    assert model != other


def test_encoder_without_sharing_owns_a_trunk():
    model = make_model(share_blocks=False)
    params, buffers = random_variables(model)
    assert model.encoder_parts == ("encoder_trunk", "encoder")
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))

    def mean_without(part):
        zeros = jax.tree.map(jnp.zeros_like, params.get(part, {}))
        return encode(model, {**params, part: zeros}, buffers, images, train=False)[0][0]

    unchanged = mean_without("none")
    np.testing.assert_array_equal(mean_without("trunk"), unchanged)
    assert not np.allclose(mean_without("encoder_trunk"), unchanged)
