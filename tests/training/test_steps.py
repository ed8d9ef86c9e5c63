"""What every phase of Algorithm 1 moves and what it leaves alone, and the conventions that change it."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.training.steps import update_discriminator, update_ema, update_encoder, update_generator
from tests.conftest import draw_inputs, random_variables, tiny_config


@functools.cache
def phases(algorithm):
    """The phases as jitted functions of (state, batch, noise)."""

    def first(tree):
        return jax.tree.map(lambda x: x[0], tree)

    return {
        "discriminator": jax.jit(
            lambda s, batch, noise: update_discriminator(algorithm, s, (first(batch), first(noise.discriminator)))[0]
        ),
        "generator": jax.jit(lambda s, batch, noise: update_generator(algorithm, s, noise.generator)[0]),
        "first_encoder": jax.jit(lambda s, batch, noise: update_encoder(algorithm, s, (first(noise.encoder), True))[0]),
        "later_encoder": jax.jit(
            lambda s, batch, noise: update_encoder(algorithm, s, (first(noise.encoder), False))[0]
        ),
    }


def moved(before, after):
    return {
        name for name in before if any(not np.array_equal(*pair) for pair in zip(
            jax.tree.leaves(before[name]), jax.tree.leaves(after[name]), strict=True))
    }  # fmt: skip


EXPECTED = {
    # phase: (params, optimizers, buffers that move)
    "discriminator": ({"trunk", "discriminator"}, {"discriminator"}, {"generator", "trunk", "discriminator"}),
    "generator": ({"generator", "prior"}, {"generator", "prior_generator"}, {"generator", "trunk", "discriminator"}),
    "first_encoder": ({"trunk", "encoder", "prior"}, {"encoder", "prior"}, {"generator", "trunk", "encoder"}),
    "later_encoder": ({"trunk", "encoder"}, {"encoder"}, {"generator", "trunk", "encoder"}),
}


@pytest.mark.parametrize("phase", EXPECTED)
def test_a_phase_moves_what_it_owns(algorithm, state, phase):
    after = phases(algorithm)[phase](state, *draw_inputs(algorithm))
    params, optimizers, buffers = EXPECTED[phase]
    assert moved(state.params, after.params) == params
    assert moved(state.optimizers, after.optimizers) == optimizers
    assert moved(state.buffers, after.buffers) == buffers
    assert moved(state.ema, after.ema) == set()


def test_encoder_without_sharing_leaves_the_discriminator_alone():
    config = tiny_config()
    config.model.share_blocks = False
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    after = phases(algorithm)["later_encoder"](state, *draw_inputs(algorithm))
    assert moved(state.params, after.params) == {"encoder_trunk", "encoder"}
    assert moved(state.buffers, after.buffers) == {"generator", "encoder_trunk", "encoder"}


def test_paper_and_released_move_the_prior_differently(algorithm, state):
    """The released code lets the gradient of L_q reach the prior; the paper's Algorithm 1 does not."""
    conventions = dataclasses.replace(algorithm.conventions, latent_gradient=True)
    other = dataclasses.replace(algorithm, conventions=conventions)
    inputs = draw_inputs(algorithm)
    plain, with_gradient = (phases(a)["first_encoder"](state, *inputs) for a in (algorithm, other))
    first = (x.optimizers["prior"][0].mu["prior"]["mean"] for x in (plain, with_gradient))
    assert not np.allclose(*first, rtol=1e-3)
    later = [phases(a)["later_encoder"](state, *inputs).params["encoder"] for a in (algorithm, other)]
    jax.tree.map(np.testing.assert_array_equal, *later)


def test_the_standard_normal_prior_trains_without_clusters():
    config = tiny_config()
    config.prior.kind = "standard_normal"
    config.model.num_clusters = 1
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    after = phases(algorithm)["generator"](state, *draw_inputs(algorithm))
    assert moved(state.params, after.params) == {"generator"}
    assert after.params["prior"] == {}


def test_conditional_training_hands_labels_to_the_discriminator():
    config = tiny_config()
    config.training.conditional = True
    config.loss.adversarial = "wasserstein"  # the hinge is flat where random weights put the real images
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    batch, noise = draw_inputs(algorithm)
    step = phases(algorithm)["discriminator"]
    after, other = (step(state, batch._replace(labels=labels), noise) for labels in (batch.labels, 2 - batch.labels))
    gradient, other_gradient = (x.optimizers["discriminator"][0].mu["discriminator"]["embed"] for x in (after, other))
    assert not np.allclose(gradient["embedding"], other_gradient["embedding"])


def test_ema_copies_and_then_averages_weights_statistics_and_u(algorithm, state):
    """ema.start is 2: iteration 1 copies, iteration 2 averages."""
    changed = jax.tree.map(lambda x: x + 1.0, {"params": state.params, "buffers": state.buffers})
    state = state.replace(params=changed["params"], buffers=changed["buffers"])
    newest = {"params": state.params["generator"], "buffers": state.buffers["generator"]}
    copied = update_ema(algorithm, state)
    jax.tree.map(np.testing.assert_array_equal, copied.ema, newest)
    averaged = update_ema(algorithm, state.replace(iteration=jnp.asarray(1)))
    jax.tree.map(
        lambda ema, old, new: np.testing.assert_allclose(ema, 0.9999 * old + 0.0001 * new, rtol=1e-6, atol=1e-7),
        averaged.ema, state.ema, newest,
    )  # fmt: skip
    assert int(averaged.iteration) == 2
