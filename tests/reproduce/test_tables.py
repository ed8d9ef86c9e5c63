import dataclasses
import re
import sys

import pytest

from mpcc_jax.config import resolve_augmentation, resolve_conventions, resolve_warm_start, settings_of
from mpcc_jax.errors import InputError
from mpcc_jax.variants import VARIANTS
from reproduce.runs import differences
from reproduce.tables import ABLATION, BEYOND, CLUSTERING, CPU, MEASURES, STUDY, TABLES, configure, find_scale

ROWS = {row.name: row for table in TABLES.values() for row in table.rows}
PAIR = re.compile(r"(\d+\.\d+) \+- (\d+\.\d+)")


@pytest.mark.parametrize("name", ROWS)
def test_the_published_figures_are_those_in_the_header_of_the_configuration(name):
    """Both were typed from the paper, by different hands."""
    get_config = ROWS[name].get_config
    text = sys.modules[getattr(get_config, "func", get_config).__module__].__doc__
    if name.startswith("table"):
        text = re.search(rf"^{name} .*$", text, re.MULTILINE)[0]
    printed = {tuple(map(float, pair)) for pair in PAIR.findall(text)}
    assert set(ROWS[name].published.values()) == printed


@pytest.mark.parametrize("name", ROWS)
def test_every_row_works_at_both_scales(name):
    row = ROWS[name]
    published = {**settings_of(row.get_config()), "seed": 3}
    assert settings_of(configure(row, "paper", "paper", 3)) == published
    small = configure(row, "paper", "cpu", 3)
    changed = {text.removeprefix("config.").split(" ")[0] for text in differences({"settings": published}, small)}
    assert changed <= set(CPU[small.data.name].fields)


def test_the_labels_of_the_ablation_are_its_settings():
    for row in ABLATION:
        training = row.get_config().training
        assert row.label == f"E_steps {training.encoder_steps}, η_p {training.prior_learning_rate:.0e}".replace(
            "-0", "-"
        )


def test_figures_are_where_the_paper_has_them():
    shared = [
        row for table in ("table1", "table2", "table3") for row in TABLES[table].rows if row.name == "table1_row5"
    ]
    assert [row.published for row in shared] == [ABLATION[-1].published] * 3
    published = [row.published for row in CLUSTERING if row.published]
    assert len(published) == 5
    assert all(figures["best_three"] > figures["accuracy"] for figures in published)
    assert all(measure in MEASURES for table in TABLES.values() for measure in table.measures)


def test_an_arm_is_a_variant_or_one_convention_of_the_released_code():
    paper, released = (dataclasses.asdict(VARIANTS[name]) for name in ("paper", "released"))
    expected = [paper, released, *({**paper, field: released[field]} for field in paper)]
    configs = [configure(CLUSTERING[0], arm, "paper") for arm in STUDY]
    assert [dataclasses.asdict(resolve_conventions(config)) for config in configs] == expected


def test_what_goes_beyond_is_as_long_as_paper_in_seconds():
    configs = [configure(CLUSTERING[0], arm, "cpu") for arm in BEYOND]
    assert len({resolve_conventions(config) for config in configs}) == 1
    assert [resolve_warm_start(config) for config in configs] == [0, 1412, 0]
    assert [resolve_augmentation(config)["probability"] for config in configs] == [0.0, 0.5, 0.5]
    assert [config.training.iterations for config in configs] == [6000, 5650, 5900]


def test_precision_and_data_are_those_of_the_command_line():
    config = configure(CLUSTERING[0], "paper", "cpu", precision="bfloat16", data_dir="elsewhere")
    assert (config.training.precision, config.data.dir) == ("bfloat16", "elsewhere")


def test_data_without_a_small_version_are_an_error():
    with pytest.raises(InputError, match=r"--scale=cpu has no settings for the data set 'faces'; allowed: digits"):
        find_scale("cpu", "faces")
