import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.model import discriminate, encode, generate
from mpcc_jax.networks.precision import at_least_float32
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import train_iteration
from tests.conftest import draw_inputs, random_variables, tiny_config
from tests.networks.references import make_model


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
    config = tiny_config()
    config.training.precision = precision
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    program = jax.make_jaxpr(lambda *inputs: train_iteration(algorithm, *inputs))(state, *draw_inputs(algorithm))
    found = set(precisions_of(program.jaxpr, []))
    before = jax.tree.map(lambda leaf: leaf.dtype, jax.tree.leaves(state))
    assert [aval.dtype for aval in program.out_avals[: len(before)]] == before
    if precision == "bfloat16":
        low = {kind for kind in found if kind[0] == "bfloat16"}
        assert low
        assert all("HIGHEST" in asked or "DEFAULT" in asked or asked == "None" for _, asked in found)
    else:
        assert {dtype for dtype, _ in found} == {"float32"}
        assert any(matmul == asked.rsplit(".", 1)[-1] for _, asked in found)
        assert {asked.rsplit(".", 1)[-1] for _, asked in found} <= {matmul, "HIGHEST"}


@functools.partial(jax.jit, static_argnums=0)
def run_networks(model, params, buffers, z, y):
    """(Images, logits, latents, buffers) and gradients of a training pass of all networks."""

    def loss(params):
        images, advanced = generate(model, params, buffers, z, y, train=True)
        logits, advanced = discriminate(model, params, advanced, images, y, train=True)
        latents, advanced = encode(model, params, advanced, images, train=True)
        return jnp.mean(logits) + jnp.mean(latents[0] + latents[1]), (images, logits, latents, advanced)

    gradients, outputs = jax.grad(loss, has_aux=True)(params)
    return outputs, gradients


def test_bfloat16_reaches_images_features_and_nothing_else():
    model = make_model()
    low = make_model(precision="bfloat16")
    params, buffers = random_variables(model)
    y, z = jnp.arange(8) % 3, jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32)
    outputs, gradients = run_networks(low, params, buffers, z, y)
    expected, expected_gradients = run_networks(model, params, buffers, z, y)
    assert {leaf.dtype for leaf in jax.tree.leaves((outputs, gradients))} == {jnp.dtype(jnp.float32)}
    assert 0 < np.abs(outputs[0] - expected[0]).max() < 0.1
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.02), outputs[-1], expected[-1])
    a, b = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (gradients, expected_gradients))
    assert a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b)) > 0.99
