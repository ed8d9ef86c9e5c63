import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.config import validate
from mpcc_jax.errors import ConfigError
from mpcc_jax.model import discriminate, encode, generate
from mpcc_jax.networks.precision import PRECISIONS, at_least_float32
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import train_iteration
from tests.conftest import draw_inputs, random_variables, tiny_config


def algorithm_of(precision):
    config = tiny_config()
    config.training.precision = precision
    return build_algorithm(config, 1)


def test_an_unknown_precision_is_refused():
    config = tiny_config()
    config.training.precision = "float16"
    with pytest.raises(ConfigError, match=r"training\.precision.*float16.*float32.*tf32.*bfloat16"):
        validate(config)


def test_at_least_float32():
    assert at_least_float32(jnp.ones(2, jnp.bfloat16)).dtype == jnp.float32
    with jax.enable_x64(True):
        assert at_least_float32(jnp.ones(2, jnp.float64)).dtype == jnp.float64


def precisions_of(jaxpr, found):
    """(operand type, precision) of every convolution and matrix product of a program."""
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            asked = equation.params["precision"]
            found.append((str(equation.invars[0].aval.dtype), str(asked[0] if isinstance(asked, tuple) else asked)))
        for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(parameter, "jaxpr", parameter)
            if hasattr(inner, "eqns"):
                precisions_of(inner, found)
    return found


@pytest.mark.parametrize(("precision", "matmul"), [("float32", "HIGHEST"), ("tf32", "HIGH"), ("bfloat16", None)])
def test_every_product_of_an_iteration_has_the_precision(precision, matmul):
    """The matrix-vector products of the spectral norms are float32 in all of them."""
    algorithm = algorithm_of(precision)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    program = jax.make_jaxpr(lambda *inputs: train_iteration(algorithm, *inputs))(state, *draw_inputs(algorithm))
    found = set(precisions_of(program.jaxpr, []))
    if precision == "bfloat16":
        low = {kind for kind in found if kind[0] == "bfloat16"}
        assert low
        assert all("HIGHEST" in asked or "DEFAULT" in asked or asked == "None" for _, asked in found)
    else:
        assert {dtype for dtype, _ in found} == {"float32"}
        assert any(matmul == asked.rsplit(".", 1)[-1] for _, asked in found)
        assert {asked.rsplit(".", 1)[-1] for _, asked in found} <= {matmul, "HIGHEST"}


def test_bfloat16_reaches_images_features_and_nothing_else():
    low, full = algorithm_of("bfloat16"), algorithm_of("float32")
    params, buffers = random_variables(full.model)
    y = jnp.arange(8) % 3
    z = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32)
    for train in (True, False):
        images, after = generate(low.model, params, buffers, z, y, train=train)
        expected, reference = generate(full.model, params, buffers, z, y, train=train)
        logits, _ = discriminate(low.model, params, after, images, y, train=train)
        outputs, _ = encode(low.model, params, after, images, train=train)
        for array in jax.tree.leaves((images, logits, outputs, after)):
            assert array.dtype == jnp.float32
        assert 0 < np.abs(images - expected).max() < 0.1
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02), after, reference)


def test_an_iteration_in_bfloat16_keeps_a_float32_state_and_is_near():
    traces = {}
    for precision in PRECISIONS:
        algorithm = algorithm_of(precision)
        state = assemble_state(algorithm, *random_variables(algorithm.model))
        after, traces[precision] = jax.jit(lambda *inputs, a=algorithm: train_iteration(a, *inputs))(
            state, *draw_inputs(algorithm)
        )
        assert jax.tree.map(lambda leaf: leaf.dtype, after) == jax.tree.map(lambda leaf: leaf.dtype, state)
    exact = traces["float32"]["discriminator"]["discriminator_loss_real"][0]
    low = traces["bfloat16"]["discriminator"]["discriminator_loss_real"][0]
    assert exact != low
    np.testing.assert_allclose(low, exact, rtol=0.05)
    jax.tree.map(np.testing.assert_array_equal, traces["tf32"], traces["float32"])  # a CPU has one precision
