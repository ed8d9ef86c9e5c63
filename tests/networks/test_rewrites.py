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
    return jax.jit(functools.partial(train_iteration, algorithm))(state, *SHARED["inputs"])


@pytest.mark.parametrize("switch", SWITCHES)
def test_an_iteration_is_the_same_with_it(switch):
    """Losses, gradients (as Adam's moments), parameters, statistics, spectral vectors."""
    with jax.enable_x64(True):
        if "plain" not in SHARED:
            SHARED["plain"] = iterate(plain_config())
        config = plain_config()
        config.speed[switch] = True
        rewritten = iterate(config)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-7, atol=1e-9), rewritten, SHARED["plain"])


@pytest.mark.parametrize("switch", SWITCHES)
def test_it_changes_the_program(switch):
    config = plain_config()
    plain = build_algorithm(config, 3).model.rewrites
    config.speed[switch] = True
    assert build_algorithm(config, 3).model.rewrites == dataclasses.replace(plain, **{switch: True})
