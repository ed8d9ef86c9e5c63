import re

import pytest
from scipy import stats

from reproduce.__main__ import write_table
from reproduce.markdown import MSE_NOTE, difference, render_page, render_published, spread
from reproduce.runs import Options, read_records
from reproduce.tables import ARMS, TABLES
from tests.conftest import ROOT
from tests.reproduce.examples import make_row, make_table, write_records

FIVE = (0.90, 0.80, 0.95, 0.70, 0.85)


@pytest.fixture
def options(tmp_path):
    return Options(out=tmp_path / "out")


def publish(table, options):
    return render_published(table, read_records(table, options)[0])[2:]


@pytest.mark.parametrize("name", ["table4", "study"])
def test_the_stored_tables_are_made_of_the_stored_records(name, tmp_path):
    (tmp_path / "runs").symlink_to(ROOT / "results" / "runs")
    (tmp_path / "baselines").symlink_to(ROOT / "results" / "baselines")
    path = write_table(TABLES[name], Options(scale="cpu", out=tmp_path))
    assert path.read_text() == (ROOT / "results" / f"{name}_cpu.md").read_text()


def test_longer_runs_are_left_out_of_the_table_and_named(tmp_path):
    (tmp_path / "runs").symlink_to(ROOT / "results" / "longer")
    records, _, left_out = read_records(TABLES["table4"], Options(scale="cpu", out=tmp_path))
    assert not any(records.values())
    assert len(left_out) == 3
    assert "config.training.iterations was 10000 and is 5000" in left_out[0]


def test_ours_the_papers_and_the_difference(tmp_path, options):
    row = make_row(tmp_path)
    write_records(row, "paper", options, FIVE)
    write_records(row, "released", options, FIVE[:1])
    assert publish(make_table(row), options) == [
        "| Small | accuracy (Eq. 11), % | paper | 5 | 84.00 ± 9.62 | 90.00 ± 1.00 | \u22126.00 |",
        "| Small | accuracy, best three of five, % | paper | 5 | 90.00 ± 5.00 | 92.00 ± 0.50 | \u22122.00 |",
        "| Small | accuracy (Eq. 11), % | released | 1 | 90.00 | 90.00 ± 1.00 | +0.00 |",
        "| Small | accuracy, best three of five, % | released | 1 | needs 5 seeds, has 1 | 92.00 ± 0.50 | — |",
    ]


def test_what_is_missing_says_why(tmp_path, options):
    row = make_row(tmp_path, fid=(6.5, 0.33), mse=(0.331, 0.09))
    table = make_table(row, name="table1", measures=("accuracy", "fid", "mse"))
    write_records(row, "paper", options, FIVE[:2])
    lines = publish(table, options)
    assert lines[:4] == [
        "| Small | FID | paper | 0 | not measured (no Inception weights) | 6.50 ± 0.33 | — |",
        "| Small | MSE, 1e-3 | paper | 2 | 10.00 ± 0.00 | 0.331 ± 0.090 | of another quantity |",
        "| Small | FID | released | 0 | not run | 6.50 ± 0.33 | — |",
        "| Small | MSE, 1e-3 | released | 0 | not run | 0.331 ± 0.090 | — |",
    ]
    assert lines[-1] == MSE_NOTE
    generation = {"fid": 9.0, "inception_score": {"mean": 7.0}, "protocol": {"num_samples": 24}}
    write_records(row, "paper", options, FIVE[:1], generation=generation)
    assert "| FID | paper | 1 | 9.00 | 6.50 ± 0.33 | +2.50 |" in publish(table, options)[0]
    page = render_page(table, "paper", *read_records(table, options), {})
    assert "IS and FID of 24 generated images." in page
    assert "| 1797 of 1797 images |" in page


def test_the_interval_is_welchs():
    squares = (1 / 3, 4 / 3)  # of the standard errors
    freedom = sum(squares) ** 2 / sum(square**2 / 2 for square in squares)
    half = stats.t.ppf(0.975, freedom) * sum(squares) ** 0.5
    low, high = (f"{value:+.2f}".replace("-", "\u2212") for value in (-2 - half, -2 + half))
    assert difference([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]) == f"\u22122.00 ({low} to {high})"
    assert difference([1.0], [2.0, 3.0]) == difference([1.0, 1.0], [2.5, 2.5]) == "\u22121.50", "no spread"
    assert difference([1.0], []) == "—"
    assert spread([1.0, 2.0, 6.0]) == "3.00 ± 2.65", "n - 1 below the line"


def test_the_study_compares_arms_that_were_run(tmp_path, options):
    row = make_row(tmp_path)
    table = make_table(row, name="study", shown=ARMS)
    write_records(row, "released", options, (0.6, 0.65))
    text = write_table(table, options).read_text()
    assert "| released | 2 | 62.50 ± 3.54 | 0.500 ± 0.000 | 0.250 ± 0.000 | 0.010 ± 0.000 | — |" in text
    write_records(row, "paper", options, (0.8, 0.9, 0.7))
    text = write_table(table, options).read_text()
    assert f"| 0.010 ± 0.000 | {difference([60.0, 65.0], [80.0, 90.0, 70.0])} |" in text
    assert "| paper+upsampling | 0 | not run | not run | not run | not run | — |" in text
    assert "| released | 1 | 65.00 | 0.500 | 0.250 | 0.010 |" in text


def test_runs_say_where_they_were_trained(tmp_path, options):
    row = make_row(tmp_path)
    changed = {"hardware": ["a | b"], "seconds": None, "versions": None}
    write_records(row, "paper", options, (0.8, 0.9), **changed)
    write_records(row, "paper", options, (0.8,), seconds=7200.0, seeds_at_once=2)
    assert (
        "| Small | paper | 0, 1 | 80.00, 90.00 | 1.00, not known | 4 | float32 | a CPU; a \\| b | abc1234 | jax 0.10.2 "
        "| 2026-01-02 | 1797 of 1797 images |"
    ) in write_table(make_table(row), options).read_text()


def test_reliability_of_an_arm(tmp_path, options):
    row = make_row(tmp_path)
    table = make_table(row, name="extended", arms=("paper", "extended"), shown=("paper", "extended"))
    write_records(row, "paper", options, (0.8,))
    write_records(row, "extended", options, (0.95, 0.92))
    assert write_table(table, options).read_text().count("| +13.50 |") == 1
    write_records(row, "paper", options, (0.8, 0.9, 0.7))
    write_records(row, "extended", options, (0.95, 0.92, 0.89))
    text = write_table(table, options).read_text()
    assert "| paper | 3 | 80.00 ± 10.00 | 80.00 | 70.00 | 0 of 3 |" in text
    line = next(line for line in text.splitlines() if line.startswith("| extended | 3 | 92.00 ± 3.00 | 92.00 | 89.00"))
    low, high = (
        float(bound.replace("\u2212", "-")) for bound in re.search(r"\+12.00 \((\S+) to (\S+)\)", line).groups()
    )
    assert 0 < low < 12 < high < 25
    assert "| extended | 2 | 89.00 |" in text
