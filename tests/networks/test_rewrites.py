"""Every exact rewrite against the plain form of the whole iteration, in float64; its parts are in the other files."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.training.iteration import train_iteration
from mpcc_jax.training.state import assemble_state, build_algorithm
from tests.conftest import draw_inputs, random_variables, tiny_config

SWITCHES = [field.name for field in dataclasses.fields(Rewrites)]
SHARED = {}


def plain_config():
    """16x16, so that generator and discriminator resample twice; nearest upsampling, which `subpixel` is about."""
    config = tiny_config()
    config.variant = "released"
    config.model.latent_dim = 12
    config.data.resolution = 16
    config.model.conditioning = "split"
    config.speed.update(dict.fromkeys(SWITCHES, False))
    return config


def iterate(config):
    algorithm = build_algorithm(config, 3)
    if not SHARED:
        SHARED["inputs"] = draw_inputs(algorithm, dtype=np.float64)
        SHARED["variables"] = random_variables(algorithm.model, np.float64)
    state = assemble_state(algorithm, *SHARED["variables"])
    traced = jax.jit(functools.partial(train_iteration, algorithm)).trace(state, *SHARED["inputs"])
    return str(traced.jaxpr), traced.lower().compile()(state, *SHARED["inputs"])


@pytest.mark.parametrize("switch", SWITCHES)
def test_an_iteration_is_another_program_with_the_same_result(switch):
    """Losses, gradients (as Adam's moments), parameters, statistics, spectral vectors."""
    with jax.enable_x64(True):
        if "plain" not in SHARED:
            SHARED["plain"] = iterate(plain_config())
        plain_program, plain = SHARED["plain"]
        config = plain_config()
        config.speed[switch] = True
        program, rewritten = iterate(config)
        assert program != plain_program
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9), rewritten, plain)
