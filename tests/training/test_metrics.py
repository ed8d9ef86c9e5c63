"""Means over some calls and the look at a state, against NumPy; signs of collapse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import entropy

from mpcc_jax.evaluation.encode import encode_images, generate_images
from mpcc_jax.prior import Latents
from mpcc_jax.training.metrics import Alarms, Window, draw_samples, inspect, signs_of_collapse
from tests.conftest import SMALL_IMAGES, tiny_config


def test_a_window_is_the_mean_over_all_iterations_since_it_was_read():
    window, rng = Window(), np.random.default_rng(0)
    calls = [rng.normal(size=count).astype(np.float32) for count in (4, 4, 1)]
    for values in calls:
        window.add({"loss": jnp.asarray(values), "other": jnp.asarray(-values)})
    means = window.read()
    np.testing.assert_allclose(means["loss"], np.concatenate(calls).mean(), rtol=1e-6)
    np.testing.assert_allclose(means["other"], -means["loss"])
    window.add({"loss": jnp.ones(2), "other": jnp.zeros(2)})
    assert float(window.read()["loss"]) == 1.0


def test_a_window_keeps_seeds_apart():
    window = Window(num_seeds=3)
    window.add({"loss": jnp.arange(12.0).reshape(3, 4)})
    window.add({"loss": jnp.ones((3, 2))})
    np.testing.assert_allclose(window.read()["loss"], [8 / 6, 24 / 6, 40 / 6], rtol=1e-6)


def test_the_look_at_a_state(algorithm, state):
    model = algorithm.model
    seen = jax.device_get(jax.jit(lambda state, images: inspect(model, state, images))(state, SMALL_IMAGES))
    sigma = np.exp(0.5 * np.maximum(state.params["prior"]["log_var"], 2 * np.log(0.5)))
    for name, value in (("min", sigma.min()), ("mean", sigma.mean()), ("max", sigma.max())):
        np.testing.assert_allclose(seen[f"prior_sigma_{name}"], value, rtol=1e-5)
    memberships = encode_images(model, state, SMALL_IMAGES).log_membership
    sizes = np.bincount(memberships.argmax(axis=-1), minlength=3)
    np.testing.assert_allclose(seen["probe_cluster_entropy"], entropy(sizes), rtol=1e-5, atol=1e-6)
    assert seen["probe_empty_clusters"] == (sizes == 0).sum()
    np.testing.assert_allclose(seen["probe_mean_confidence"], np.exp(memberships.max(axis=-1)).mean(), rtol=1e-4)


def test_the_largest_singular_value_of_each_network(algorithm, state):
    buffers = jax.tree.map(lambda leaf: leaf, state.buffers)
    for part, value in (("generator", 5.0), ("trunk", 7.0), ("discriminator", 6.0), ("encoder", 9.0)):
        sigmas = [path for path, _ in jax.tree_util.tree_leaves_with_path(buffers[part]) if path[-1].key == "sigma"]
        layer = buffers[part]
        for key in sigmas[-1][:-1]:
            layer = layer[key.key]
        layer["sigma"] = jnp.float32(value)
    seen = inspect(algorithm.model, state.replace(buffers=buffers), jnp.asarray(SMALL_IMAGES))
    norms = [float(seen[f"spectral_norm_{name}"]) for name in ("generator", "discriminator", "encoder")]
    assert norms == [5.0, 7.0, 9.0]


def test_samples_are_those_of_the_average(algorithm, state):
    y = np.asarray([0, 1, 2])
    eps = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    drawn = draw_samples(algorithm.model, state, Latents(jnp.asarray(y), jnp.asarray(eps)))
    z = algorithm.model.prior.sampling_mixture(state.params["prior"]).sample(jnp.asarray(y), jnp.asarray(eps))
    expected = generate_images(algorithm.model, state, state.ema["buffers"], z, y)
    np.testing.assert_allclose(drawn, expected, rtol=1e-4, atol=1e-5)


HEALTHY = {
    "probe_empty_clusters": 0.0,
    "prior_sigma_mean": 1.2,
    "prior_sigma_max": 2.0,
    "discriminator_loss_real": 0.9,
    "discriminator_loss_fake": 1.0,
}


def signs(config=None, **changes):
    found = signs_of_collapse(config or tiny_config(), {**HEALTHY, **changes})
    return {name: sentence for name, sentence in found.items() if sentence}


@pytest.mark.parametrize(
    ("changes", "sign", "sentence"),
    [
        ({"probe_empty_clusters": 2.0}, "dead_clusters", "2 of 3 clusters hold no image"),
        ({"prior_sigma_mean": 0.502}, "sigma_at_floor", "0.502 on average, at its floor of 0.5"),
        ({"prior_sigma_max": 21.0}, "sigma_running_away", "has reached 21.0"),
        (
            {"discriminator_loss_real": 0.0, "discriminator_loss_fake": 0.01},
            "discriminator_saturated",
            "its losses add up to 0.0100",
        ),
    ],
)
def test_every_sign_by_itself(changes, sign, sentence):
    (found,) = signs(**changes).items()
    assert found[0] == sign
    assert sentence in found[1]


def test_signs_that_mean_nothing_for_other_losses_and_priors():
    config = tiny_config()
    config.loss.adversarial = "wasserstein"
    assert signs(config, discriminator_loss_real=-5.0, discriminator_loss_fake=-3.0) == {}
    config.prior.family, config.model.num_clusters = "standard_normal", 1
    assert signs(config, prior_sigma_mean=0.1, probe_empty_clusters=0.0) == {}


def test_reported_once_it_has_come_to_stay_and_once_it_is_over():
    config = tiny_config()
    config.alarms.update({"after": 20, "patience": 2})
    alarms, told = Alarms(config), {}
    for iteration, empty in ((10, 1), (20, 1), (30, 0), (40, 1), (50, 1), (60, 1), (70, 0), (80, 0)):
        flags, sentences = alarms.check(iteration, {**HEALTHY, "probe_empty_clusters": float(empty)})
        told[iteration] = (flags["alarm_dead_clusters"], sentences)
    assert [flag for flag, _ in told.values()] == [0, 0, 0, 0, 1, 1, 0, 0]
    assert told[50][1] == ["iteration 50: 1 of 3 clusters hold no image (2 lines of the log in a row)."]
    assert told[70][1] == ["iteration 70: the alarm about dead clusters is over."]
    assert sum(len(sentences) for _, sentences in told.values()) == 2
