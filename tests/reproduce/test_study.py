import pytest

from reproduce.arms import ARMS
from reproduce.statistics import welch
from reproduce.study import summarize_study
from tests.reproduce.examples import make_options, make_row, make_table, write_records


def test_arms_and_their_distance_from_the_paper(tmp_path):
    row, options = make_row(tmp_path), make_options(tmp_path)
    paper, released, single = (0.8, 0.9, 0.7), (0.6, 0.65), (0.85,)
    write_records(row, "paper", options, paper)
    write_records(row, "released", options, released)
    write_records(row, "paper+upsampling", options, single)
    content = summarize_study(make_table(row, name="study", arms=ARMS, shown=ARMS), options)
    lines = {line["arm"]: line for line in content["lines"]}
    assert list(lines) == list(ARMS)
    assert lines["paper"]["difference"] is None
    accuracy = lines["paper"]["scores"]["accuracy_many_to_one"]
    assert accuracy.pop("values") == pytest.approx([80.0, 90.0, 70.0])
    assert accuracy == pytest.approx({"mean": 80.0, "sd": 10.0, "n": 3})
    expected = welch([60.0, 65.0], [80.0, 90.0, 70.0])
    assert lines["released"]["difference"] == pytest.approx(expected._asdict())
    assert expected.low < -17.5 < expected.high
    assert lines["paper+upsampling"]["difference"] == pytest.approx({"mean": 5.0, "low": None, "high": None})
    assert lines["released"]["scores"]["reconstruction_mse"]["mean"] == pytest.approx(0.01)
    untouched = lines["paper+bias_init"]
    assert (untouched["n"], untouched["scores"], untouched["difference"]) == (0, {}, None)


def test_nothing_is_compared_with_a_variant_that_was_not_run(tmp_path):
    row, options = make_row(tmp_path), make_options(tmp_path)
    write_records(row, "released", options, (0.6, 0.7))
    content = summarize_study(make_table(row, name="study", shown=("paper", "released")), options)
    assert [line["difference"] for line in content["lines"]] == [None, None]
