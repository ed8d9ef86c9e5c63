"""Signs of collapse: each by its own numbers, once when it has come to stay, and once when it is over."""

import pytest

from mpcc_jax.training.metrics import Alarms, signs_of_collapse
from tests.conftest import tiny_config

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


def test_a_healthy_run_shows_none():
    assert signs() == {}


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
    config.prior.kind, config.model.num_clusters = "standard_normal", 1
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
