import math
import re
import sys

import pytest

from benchmarks.compare import compare, main, peer_settings
from mpcc_jax.errors import ConfigError
from tests.conftest import ROOT, tiny_config


@pytest.mark.parametrize(
    ("field", "value"),
    [("loss.adversarial", "wasserstein"), ("model.share_blocks", False), ("augmentation.probability", 0.5)],
)
def test_what_the_peer_does_not_compute_is_refused(field, value):
    config = tiny_config()
    group, name = field.split(".")
    config[group][name] = value
    with pytest.raises(ConfigError, match=rf"config\.{field} is {value!r}"):
        peer_settings(config, 1)


def test_a_warm_start_is_refused():
    config = tiny_config()
    config.training.update({"warm_start": 0.25, "iterations": 8})
    with pytest.raises(ConfigError, match="the warm start takes 2 iterations, and the peer has none"):
        peer_settings(config, 1)


def test_the_peer_gets_the_configuration_and_the_conventions():
    config = tiny_config()
    config.variant = "released"
    settings = peer_settings(config, 1)
    assert (settings.resolution, settings.latent_dim, settings.ema_start) == (8, 8, 2)
    assert (settings.sigma_floor, settings.log_constant) == ("add", pytest.approx(math.log(math.pi)))
    assert settings.trunk[0] == (4, True)


def test_a_wrong_variant_stops_before_anything_starts():
    request = {"config": "mnist", "channels": 0, "image_channels": 1, "tiny": True, "iterations": 1}
    with pytest.raises(ValueError, match="has quick"):
        compare(request, ["quick"], 1)


def test_the_comparison_runs(capsys, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["compare", "--tiny", "--rounds=2", "--variants=eager,batched+channels_last"])
    main()
    assert re.search(r"the peer's best is (eager|batched\+channels_last); ours takes", capsys.readouterr().out)
