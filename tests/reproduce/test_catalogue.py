import re

import pytest

from mpcc_jax.config import load_config
from reproduce.catalogue import ABLATION, CLUSTERING, MEASURES, TABLES

ROWS = {row.name: row for table in TABLES.values() for row in table.rows}
PAIR = re.compile(r"(\d+\.\d+) \+- (\d+\.\d+)")


@pytest.mark.parametrize("name", ROWS)
def test_the_published_figures_are_those_in_the_header_of_the_configuration(name):
    """Both were typed from the paper, by different hands."""
    text = ROWS[name].config.read_text()
    printed = {tuple(map(float, pair)) for pair in PAIR.findall(text)}
    assert {tuple(figure) for figure in ROWS[name].published.values()} == printed


@pytest.mark.parametrize("name", ROWS)
def test_the_configuration_trains_as_long_as_published(name):
    iterations = load_config(ROWS[name].config).training.iterations
    assert iterations == (ROWS[name].iterations or iterations)
    assert (ROWS[name].iterations is None) == (name == "digits")


def test_the_labels_of_the_ablation_are_its_settings():
    for row in ABLATION:
        training = load_config(row.config).training
        steps, rate = re.fullmatch(r"E_steps (\d), η_p (\de-4)", row.label).groups()
        assert (int(steps), float(rate)) == (training.encoder_steps, training.prior_learning_rate)


def test_the_best_three_of_five_are_better_than_the_five():
    published = {row.name: row.published for row in CLUSTERING if row.published}
    assert list(published) == ["mnist", "omniglot100", "fashion_mnist", "cifar10", "cifar20"]
    assert all(figures["best_three"].mean > figures["accuracy"].mean for figures in published.values())


def test_rows_that_the_paper_repeats_share_their_runs():
    shared = {table: [row.name for row in TABLES[table].rows] for table in ("table1", "table2", "table3")}
    assert all("table1_row5" in names for names in shared.values())
    figures = TABLES["table1"].rows[-1].published
    assert all(row.published == figures for name in shared for row in TABLES[name].rows if row.name == "table1_row5")
    assert all(measure in MEASURES for table in TABLES.values() for measure in table.measures)
