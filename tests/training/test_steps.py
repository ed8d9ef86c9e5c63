"""Algorithm 1: what every update moves and leaves alone; one iteration against stored numbers, scanned and pmapped."""

import dataclasses
import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax import losses
from mpcc_jax.data.loader import DeviceLoader, epoch_order, gather, to_batch
from mpcc_jax.prior import GaussianMixture, draw_latents
from mpcc_jax.training.state import assemble_state, build_algorithm, init_state
from mpcc_jax.training.steps import (
    PRIOR_METRICS,
    Noise,
    compile_train_iterations,
    draw_noise,
    information,
    summarize,
    train_iteration,
    update_discriminator,
    update_ema,
    update_encoder,
    update_generator,
    update_weights,
)
from tests.conftest import ROOT, SMALL_IMAGES, assert_trees_close, draw_inputs, layout_of, random_variables, tiny_config

GOLDEN = ROOT / "tests" / "golden" / "iteration_paper.npz"
UPDATE = (
    "One iteration of the paper's variant no longer gives the stored numbers. If the change of behaviour is meant, "
    "say so in the commit and rewrite them: UPDATE_GOLDEN=1 pytest tests/training/test_steps.py"
)


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
    leaves = {name: (jax.tree.leaves(before[name]), jax.tree.leaves(after[name])) for name in before}
    return {name for name, pair in leaves.items() if not all(map(np.array_equal, *pair))}


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


def test_the_standard_normal_prior_trains_without_clusters():
    config = tiny_config()
    config.prior.family = "standard_normal"
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


@pytest.mark.parametrize(("iteration", "conditional"), [(1, True), (2, False)])
def test_a_warm_start_is_conditional_and_then_the_paper(iteration, conditional):
    """Two of eight iterations: before they are over as with labels, afterwards as without a projection."""
    config, other = tiny_config(), tiny_config()
    config.training.update({"warm_start": 0.25, "iterations": 8})
    other.training.conditional = conditional
    for settings in (config, other):
        settings.loss.adversarial = "wasserstein"
    warm, expected = (build_algorithm(settings, 1) for settings in (config, other))
    assert (warm.warm_start, expected.warm_start) == (2, 0)
    state = assemble_state(warm, *random_variables(warm.model)).replace(iteration=jnp.int32(iteration))

    def without_embed(tree):
        heads = {"discriminator": {name: leaf for name, leaf in tree["discriminator"].items() if name != "embed"}}
        return tree | ({} if conditional else heads)

    def strip(buffers):
        spectral = without_embed({"discriminator": buffers["discriminator"]["spectral"]})["discriminator"]
        return {**buffers, "discriminator": {"spectral": spectral}}

    plain = assemble_state(expected, without_embed(state.params), strip(state.buffers)).replace(
        iteration=state.iteration
    )
    inputs = draw_inputs(warm)
    for phase in ("discriminator", "generator"):
        after, alone = (phases(a)[phase](s, *inputs) for a, s in ((warm, state), (expected, plain)))
        assert_trees_close(without_embed(after.params), alone.params)
        if not conditional:
            embeds = (x.params["discriminator"]["embed"]["embedding"] for x in (after, state))
            np.testing.assert_array_equal(*embeds)


def test_ema_copies_and_then_averages_weights_statistics_and_u(algorithm, state):
    """ema.start is 2: iteration 1 copies, iteration 2 averages."""
    changed = jax.tree.map(lambda x: x + 1.0, {"params": state.params, "buffers": state.buffers})
    state = state.replace(params=changed["params"], buffers=changed["buffers"])
    newest = {"params": state.params["generator"], "buffers": state.buffers["generator"]}
    copied = update_ema(algorithm, state)
    jax.tree.map(np.testing.assert_array_equal, copied.ema, newest)
    averaged = update_ema(algorithm, state.replace(iteration=jnp.asarray(1)))
    expected = jax.tree.map(lambda old, new: 0.9999 * old + 0.0001 * new, state.ema, newest)
    assert_trees_close(averaged.ema, expected, rtol=1e-6, atol=1e-7)
    assert int(averaged.iteration) == 2


@functools.cache
def jitted_iteration(algorithm):
    return jax.jit(functools.partial(train_iteration, algorithm))


def double_state(algorithm):
    return assemble_state(algorithm, *random_variables(algorithm.model, np.float64))


def test_golden_iteration(algorithm):
    """In float64, so that rounding cannot grow into the +-lr steps of Adam with beta1 = 0."""
    with jax.enable_x64(True):
        inputs = draw_inputs(algorithm, dtype=np.float64)
        state, trace = jitted_iteration(algorithm)(double_state(algorithm), *inputs)
        tree = {"params": state.params, "buffers": state.buffers, "ema": state.ema, "trace": trace}
        numbers = {
            jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        }
    if os.environ.get("UPDATE_GOLDEN"):
        np.savez_compressed(GOLDEN, **numbers)
    with np.load(GOLDEN) as golden:
        assert set(golden.files) == set(numbers), UPDATE
        for name in golden.files:
            if name.endswith(tuple(f"['{metric}']" for metric in PRIOR_METRICS)):  # of the first encoder step
                np.testing.assert_allclose(numbers[name][0], golden[name][0], rtol=1e-7, atol=1e-9, err_msg=name)
                assert not numbers[name][1:].any()
                continue
            np.testing.assert_allclose(numbers[name], golden[name], rtol=1e-7, atol=1e-9, err_msg=f"{name}. {UPDATE}")


def split_batch(inputs, devices):
    """Puts a leading axis of devices before the steps: [..., B] to [devices, ..., B / devices]."""

    def split(axis):
        def divide(x):
            x = x.reshape(*x.shape[:axis], devices, -1, *x.shape[axis + 1 :])
            return jnp.moveaxis(x, axis, 0)

        return divide

    batch, noise = inputs
    latents = [jax.tree.map(split(axis), part) for axis, part in zip((1, 0, 1), noise[:3], strict=True)]
    return jax.tree.map(split(1), batch), Noise(*latents)


@pytest.mark.filterwarnings("ignore:.*pmap.*:DeprecationWarning")
def test_pmapped_iteration_equals_the_jitted_one(algorithm):
    """Two devices, half of the batch each: global batch norm and averaged gradients give the whole batch's step."""
    config = tiny_config()
    config.training.batch_size = 4
    parallel = build_algorithm(config, 1, axis_name="devices")
    with jax.enable_x64(True):
        state, inputs = double_state(algorithm), draw_inputs(algorithm, dtype=np.float64)
        expected, trace = jitted_iteration(algorithm)(state, *inputs)
        expected_metrics = summarize(algorithm, trace)

        def step(state, batch, noise):
            state, trace = train_iteration(parallel, state, batch, noise)
            return state, summarize(parallel, trace)

        replicated = jax.tree.map(lambda x: jnp.stack([x, x]), state)
        states, metrics = jax.pmap(step, axis_name="devices")(replicated, *split_batch(inputs, 2))
        for device in range(2):
            assert_trees_close(jax.tree.map(lambda x: x[device], states), expected, rtol=1e-8, atol=1e-10)  # noqa: B023
        assert_trees_close(jax.tree.map(lambda x: x[0], metrics), expected_metrics, rtol=1e-8, atol=1e-10)


def test_calls_draw_what_single_iterations_would(algorithm):
    """Four iterations in calls of two equal four single ones; a resumed run sees the same data and noise."""
    keys, layout = tuple(jax.random.split(jax.random.key(5))), layout_of()
    program = compile_train_iterations(algorithm, layout)
    with jax.enable_x64(True):
        state = double_state(algorithm)
        actual, compiled = layout.place_tree(state), program._cache_size()
        for examples in DeviceLoader(SMALL_IMAGES, None, keys[:1], 2, 8, layout).calls(0, 4, 2):
            actual, metrics = program(actual, examples, keys[1])
        assert program._cache_size() == compiled + 1
        assert all(values.shape == (2,) for values in metrics.values())
        expected, step = state, jitted_iteration(algorithm)
        stream = np.concatenate([epoch_order(keys[0], epoch, 20) for epoch in range(4)])
        for iteration in range(4):
            indices = stream[16 * iteration : 16 * (iteration + 1)].reshape(2, 8)
            noise = draw_noise(algorithm, keys[1], iteration)
            expected, trace = step(expected, to_batch(gather(SMALL_IMAGES, None, indices)), noise)
        assert_trees_close(actual, expected, rtol=1e-7, atol=1e-9)
        last = jax.tree.map(lambda values: values[-1], metrics)
        assert_trees_close(last, summarize(algorithm, trace), rtol=1e-7, atol=1e-9)


def test_noise_depends_on_seed_and_iteration(algorithm):
    key = jax.random.key(0)
    first, again, next_one = (draw_noise(algorithm, key, iteration) for iteration in (3, 3, 4))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    assert not np.array_equal(first.generator.eps, next_one.generator.eps)
    assert first.discriminator.y.shape == (2, 8)
    assert first.encoder.eps.shape == (2, 8, 8)
    assert not np.array_equal(first.discriminator.eps[0], first.encoder.eps[0])
    large = draw_noise(build_algorithm(large_batch(), 1), key, 0)
    counts = np.bincount(np.asarray(large.discriminator.y).ravel(), minlength=3)
    assert np.all(np.abs(counts / counts.sum() - 1 / 3) < 0.03)


def test_noise_is_what_each_phase_would_draw_alone(algorithm):
    key, prior = jax.random.key(1), algorithm.model.prior
    noise = draw_noise(dataclasses.replace(algorithm, discriminator_steps=3), key, 7)
    keys = jax.random.split(jax.random.fold_in(key, 7), 3)
    alone = Noise(*map(functools.partial(draw_latents, prior=prior), keys, [(3, 8), (8,), (2, 8)]))
    jax.tree.map(np.testing.assert_array_equal, noise, alone)


def large_batch():
    config = tiny_config()
    config.training.batch_size = 4000
    return config


def test_initial_state(algorithm):
    state = init_state(algorithm, jax.random.key(0))
    assert int(state.iteration) == 0
    weak = [jax.tree_util.keystr(path) for path, x in jax.tree_util.tree_leaves_with_path(state) if x.aval.weak_type]
    assert weak == [], "the second call of the training program would compile again"
    assert set(state.optimizers) == {"discriminator", "generator", "prior_generator", "encoder", "prior"}
    jax.tree.map(np.testing.assert_array_equal, state.ema["params"], state.params["generator"])
    np.testing.assert_allclose(np.std(state.params["generator"]["linear"]["kernel"]), 0.02, rtol=0.15)


def test_information_is_tight_for_the_exact_encoder():
    """x = a z + noise of two far components: I(x; z, y) = log K + 1/2 log(1 + (a sigma / tau)^2) for each dimension."""
    rng, (a, sigma, tau) = np.random.default_rng(0), (0.8, 1.5, 0.7)
    means = jnp.array([[-40.0, 0.0], [40.0, 0.0]])
    mixture = GaussianMixture(jnp.log(jnp.full(2, 0.5)), means, jnp.full((2, 2), 2 * jnp.log(sigma)))
    y = np.repeat([0, 1], 20_000)
    z = np.asarray(means)[y] + sigma * rng.normal(size=(len(y), 2))
    x = a * z + tau * rng.normal(size=z.shape)
    variance = 1 / (sigma**-2 + (a / tau) ** 2)
    mean = variance * (np.asarray(means)[y] / sigma**2 + a * x / tau**2)
    z, mean = (jnp.asarray(values, jnp.float32) for values in (z, mean))
    memberships = [losses.log_membership(latents, mixture) for latents in (z, mean)]
    found = information(mixture, jnp.asarray(y), z, mean, jnp.full_like(z, np.log(variance)), *memberships)
    expected = np.log(2) + np.log(1 + (a * sigma / tau) ** 2)
    np.testing.assert_allclose(found["information"], expected, atol=0.02)
    np.testing.assert_allclose(found["information_of_y"], np.log(2), atol=1e-5)
    assert found["round_trip_accuracy"] == 1


def test_an_encoder_that_knows_nothing_has_no_information():
    """q(z | x) = p(z) of one component, and y at random: both bounds are zero."""
    rng = np.random.default_rng(0)
    mixture = GaussianMixture(jnp.log(jnp.full(2, 0.5)), jnp.zeros((2, 3)), jnp.zeros((2, 3)))
    z, mean = jnp.asarray(rng.normal(size=(50_000, 3)), jnp.float32), jnp.zeros((50_000, 3))
    memberships = [losses.log_membership(latents, mixture) for latents in (z, mean)]
    found = information(mixture, jnp.asarray(rng.integers(0, 2, 50_000)), z, mean, mean, *memberships)
    np.testing.assert_allclose([found["information"], found["information_of_y"]], 0, atol=0.02)
    np.testing.assert_allclose(found["round_trip_accuracy"], 0.5, atol=0.02)


def weighted(weights):
    config = tiny_config()
    config.prior.weights = weights
    algorithm = build_algorithm(config, 1)
    params, buffers = random_variables(algorithm.model)
    # Far apart, so that every latent belongs to its component.
    params["prior"] = {**params["prior"], "mean": 20.0 * params["prior"]["mean"]}
    params["prior"]["log_weights"] = jnp.log(jnp.asarray([0.5, 0.3, 0.2]))
    return algorithm, assemble_state(algorithm, params, buffers)


def test_em_moves_the_weights_once_the_components_have_come_apart():
    algorithm, state = weighted("em")
    batch, noise = draw_inputs(algorithm)
    after, trace = jax.jit(functools.partial(train_iteration, algorithm))(state, batch, noise)
    before, weights = (np.exp(tree.params["prior"]["log_weights"]) for tree in (state, after))
    assert trace["encoder"]["prior_accuracy"][0] == 1.0
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=1e-6)
    assert 0 < np.abs(weights - before).max() <= 0.01
    kept = update_weights(algorithm, state, batch.images[0], jnp.float32(0.9))
    np.testing.assert_array_equal(kept.params["prior"]["log_weights"], state.params["prior"]["log_weights"])


def test_the_gradient_of_loss_one_alone_moves_the_weights():
    algorithm, state = weighted("gradient")
    inputs = draw_inputs(algorithm)
    for phase, moves in (("generator", True), ("first_encoder", False), ("discriminator", False)):
        after = phases(algorithm)[phase](state, *inputs)
        before, weights = (tree.params["prior"]["log_weights"] for tree in (state, after))
        assert np.array_equal(weights, before) != moves
    overlapping = state.replace(params={**state.params, "prior": {**state.params["prior"], "mean": jnp.zeros((3, 8))}})
    after = phases(algorithm)["generator"](overlapping, *inputs)
    np.testing.assert_array_equal(after.params["prior"]["log_weights"], state.params["prior"]["log_weights"])
