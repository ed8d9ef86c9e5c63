import pytest

from mpcc_jax.config import load_config
from mpcc_jax.workdir import differing_fields, settings_of
from reproduce.catalogue import DIGITS, TABLES
from reproduce.errors import ReproduceError
from reproduce.plan import configure
from reproduce.scales import CPU, find_scale
from tests.reproduce.examples import make_options

ROWS = {row.name: row for table in TABLES.values() for row in table.rows}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_works_at_both_scales(name, tmp_path):
    row, settings = ROWS[name], {}
    for scale in ("paper", "cpu"):
        settings[scale] = settings_of(configure(row, "paper", make_options(tmp_path, scale=scale), (3,)))
    published = {**settings_of(load_config(row.config)), "seed": 3}
    assert settings["paper"] == published
    fields = CPU[published["data"]["name"]].fields
    differing = differing_fields(published, settings["cpu"])
    changed = {text.removeprefix("config.").split(" ")[0] for text in differing}
    assert changed <= set(fields)
    # What a row is about stays as it is.
    for field in ("conditional", "beta1", "batch_size"):
        assert settings["cpu"]["training"][field] == published["training"][field]
    assert settings["cpu"]["prior"] == published["prior"]
    assert settings["cpu"]["data"]["split"] == published["data"]["split"]
    if name.startswith("table"):
        assert settings["cpu"]["training"]["encoder_steps"] == published["training"]["encoder_steps"]


def test_the_digits_are_as_configured_at_both_scales(tmp_path):
    configs = [configure(DIGITS, "paper", make_options(tmp_path, scale=scale)) for scale in ("paper", "cpu")]
    assert settings_of(configs[0]) == settings_of(configs[1]) == settings_of(load_config(DIGITS.config))


def test_data_without_a_small_version_are_an_error():
    assert find_scale("paper", "anything").fields == {}
    with pytest.raises(
        ReproduceError, match=r"--scale=cpu has no settings for the data set 'faces'; there are: digits"
    ):
        find_scale("cpu", "faces")
