import pytest

from reproduce.catalogue import Published
from reproduce.summary import describe_runs, summarize_measure, summarize_scores, summarize_table
from tests.reproduce.examples import make_options, make_record, make_row, make_table, write_record, write_records

FIVE = (0.90, 0.80, 0.95, 0.70, 0.85)


@pytest.fixture
def row(tmp_path):
    return make_row(tmp_path)


def records_of(row, tmp_path, accuracies, **fields):
    options = make_options(tmp_path)
    return [make_record(row, "paper", seed, options, value, **fields) for seed, value in enumerate(accuracies)]


def test_ours_and_the_difference_from_the_papers(row, tmp_path):
    line = summarize_measure(records_of(row, tmp_path, FIVE), "accuracy", Published(90.0, 1.0))
    assert (line["n"], line["seeds"]) == (5, [0, 1, 2, 3, 4])
    assert line["values"] == pytest.approx([90, 80, 95, 70, 85])
    assert line["mean"] == pytest.approx(84.0)
    assert line["sd"] == pytest.approx((370 / 4) ** 0.5)  # 36 + 16 + 121 + 196 + 1
    assert line["difference"] == pytest.approx(-6.0)
    assert line["published"] == {"mean": 90.0, "sd": 1.0}


def test_the_best_three_need_five(row, tmp_path):
    line = summarize_measure(records_of(row, tmp_path, FIVE), "best_three", Published(92.0, 0.5))
    assert (line["mean"], line["sd"], line["difference"]) == pytest.approx((90.0, 5.0, -2.0))
    for accuracies in (FIVE[:4], (*FIVE, 0.5)):
        line = summarize_measure(records_of(row, tmp_path, accuracies), "best_three", Published(92.0, 0.5))
        assert line["missing"] == f"needs 5 seeds, has {len(accuracies)}"
        assert "mean" not in line
        assert line["difference"] is None


def test_what_is_missing_says_why(row, tmp_path):
    records = records_of(row, tmp_path, FIVE[:2])
    assert summarize_measure([], "accuracy", Published(90.0, 1.0))["missing"] == "not run"
    assert summarize_measure([], "fid")["missing"] == "not run"
    assert summarize_measure(records, "fid")["missing"] == "not measured (no Inception weights)"
    assert summarize_measure(records, "inception_score")["missing"] == "not measured (no Inception weights)"
    records[0]["scores"]["reconstruction_mse"] = None
    assert summarize_measure(records, "mse")["n"] == 1
    records[1]["scores"]["reconstruction_mse"] = None
    assert summarize_measure(records, "mse")["missing"] == "not measured"


def test_the_quality_of_images_is_read_where_it_was_measured(row, tmp_path):
    records = records_of(row, tmp_path, FIVE[:3])
    for record, fid, score in zip(records[:2], (9.0, 11.0), (7.0, 8.0), strict=True):
        record["generation"] = {"fid": fid, "inception_score": {"mean": score, "sd": 0.1}}
    line = summarize_measure(records, "fid", Published(6.5, 0.3))
    assert (line["n"], line["seeds"], line["mean"], line["difference"]) == (2, [0, 1], 10.0, 3.5)
    assert summarize_measure(records, "inception_score")["values"] == [7.0, 8.0]


def test_the_papers_mse_is_another_quantity(row, tmp_path):
    line = summarize_measure(records_of(row, tmp_path, FIVE), "mse", Published(1.04, 1.03))
    assert (line["mean"], line["difference"]) == (pytest.approx(10.0), "of another quantity")


def test_scores_that_all_runs_have(row, tmp_path):
    records = records_of(row, tmp_path, (0.8, 0.9))
    scores = summarize_scores(records)
    assert scores["accuracy_many_to_one"] == pytest.approx({"mean": 0.85, "sd": 0.005**0.5, "n": 2})
    assert scores["accuracy_one_to_one"]["mean"] == pytest.approx(0.425)
    del records[0]["scores"]["nmi"]
    assert list(summarize_scores(records)) == ["accuracy_many_to_one", "accuracy_one_to_one", "ari"]


def test_what_the_figures_have_to_be_read_with(row, tmp_path):
    records = records_of(row, tmp_path, (0.8, 0.9), seeds_at_once=2, seconds=7200.0)
    records[1] |= {"hardware": ["a GPU", "2 cores of a test"], "seconds": None, "resumed": True, "evaluated_images": 9}
    told = describe_runs(records)
    assert told["hardware"] == ["2 cores of a test", "a GPU"]
    assert told["hours"] == [1.0, None]
    assert told["resumed"] == [1]
    assert told["scored_on"] == ["20 of 20 images", "9 of 20 images"]
    assert told["accuracies"] == [0.8, 0.9]


def test_every_row_and_variant_has_its_place(row, tmp_path):
    options = make_options(tmp_path)
    write_records(row, "released", options, FIVE)
    failed = make_record(row, "paper", 3, options, 0.9, status="failed", reason="Iteration 7 is not finite")
    write_record(failed, options)
    other = make_record(row, "released", 5, options, 0.1)
    other["settings"]["training"]["batch_size"] = 4
    write_record(other, options)
    content = summarize_table(make_table(row), options)
    told = {(line["arm"], line["measure"]): line.get("missing") for line in content["lines"]}
    assert told == {
        ("paper", "accuracy"): "not run",
        ("paper", "best_three"): "not run",
        ("released", "accuracy"): None,
        ("released", "best_three"): None,
    }
    assert content["lines"][2]["n"] == 5, "the run of another configuration does not count"
    assert content["failed"] == ["Small, paper, seed 3: Iteration 7 is not finite"]
    assert content["left_out"][0].startswith("paper_small_released_seed5.json is of another configuration")
    assert [run["arm"] for run in content["runs"]] == ["released"]


def test_a_row_without_clusters_has_no_accuracy(tmp_path):
    row = make_row(tmp_path, fid=Published(9.0, 1.0))
    content = summarize_table(make_table(row, measures=("accuracy", "fid", "mse")), make_options(tmp_path))
    assert [line["measure"] for line in content["lines"]] == ["fid", "fid"]
