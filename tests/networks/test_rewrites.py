"""Every exact rewrite against the plain form of all networks, in float64, forward and backward.

Whole iterations with all of them on and off are in training/test_trajectory.py, the parts in the other files here.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.model import discriminate, encode, generate
from mpcc_jax.networks import winograd
from mpcc_jax.networks.rewrites import Rewrites
from tests.conftest import random_variables
from tests.networks.references import make_model

SWITCHES = [field.name for field in dataclasses.fields(Rewrites)]


def compute(variant, **switches):
    """What G makes, what D and E say of it, all gradients and all buffers; and the program.

    16x16, so that generator and discriminator resample twice, and that bilinear upsampling is rewritten too.
    """
    speed = dict.fromkeys(SWITCHES, False) | switches
    model = make_model(
        resolution=16, image_channels=3, variant=variant, speed=speed, conditioning="split", latent_dim=12
    )
    params, buffers = random_variables(model, np.float64)
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(8, 12)), rng.integers(0, 3, 8)

    def loss(params, buffers, z, y):
        fakes, advanced = generate(model, params, buffers, z, y, train=True)
        logits, advanced = discriminate(model, params, advanced, fakes, y, train=True)
        latents, advanced = encode(model, params, advanced, fakes, train=True)
        outputs = (fakes, logits, *latents)
        return sum(jnp.mean(jnp.sin(output)) for output in outputs), (outputs, advanced)

    traced = jax.jit(jax.value_and_grad(loss, has_aux=True)).trace(params, buffers, z, y)
    return str(traced.jaxpr), traced.lower().compile()(params, buffers, z, y)


@functools.cache
def plain(variant):
    return compute(variant)


# The variant `paper` upsamples bilinearly, `released` by the nearest.
@pytest.mark.parametrize(("variant", "switch"), [("paper", "subpixel"), *(("released", switch) for switch in SWITCHES)])
def test_a_pass_is_another_program_with_the_same_result(variant, switch, monkeypatch):
    monkeypatch.setattr(winograd, "SMALLEST", 1)
    with jax.enable_x64(True):
        plain_program, expected = plain(variant)
        program, rewritten = compute(variant, **{switch: True})
        assert program != plain_program
        kernels = [leaf for path, leaf in jax.tree_util.tree_leaves_with_path(expected[1]) if path[-1].key == "kernel"]
        assert min(np.abs(gradient).max() for gradient in kernels) > 1e-6
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-12), rewritten, expected)
