import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpcc_jax.networks.kernel_gradient import THIN, kernel_gradient

SAME, VALID, UNEVEN = ((1, 1), (1, 1)), ((0, 0), (0, 0)), ((1, 0), (0, 2))


def convolve(x, kernel, padding):
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("padding", [SAME, VALID, UNEVEN])
@pytest.mark.parametrize(
    ("channels", "features"), [(1, THIN), (THIN - 1, THIN), (THIN, 1), (THIN, THIN - 1), (2, 3), (THIN, THIN + 1)]
)
@pytest.mark.parametrize("size", [(3, 3), (2, 2), (2, 3)])
def test_it_is_the_gradient_that_jax_derives(size, channels, features, padding):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernel = (
            jnp.asarray(rng.normal(size=shape)) for shape in ((2, 5, 6, channels), (*size, channels, features))
        )
        outputs, derive = jax.vjp(lambda kernel: convolve(x, kernel, padding), kernel)
        cotangent = jnp.asarray(rng.normal(size=outputs.shape))
        expected = derive(cotangent)[0]
        np.testing.assert_allclose(
            kernel_gradient(x, kernel.shape, padding, cotangent), expected, rtol=1e-10, atol=1e-10
        )
