import pytest

from mpcc_jax.config import default_config
from mpcc_jax.workdir import differing_fields, settings_of
from reproduce.errors import ReproduceError
from reproduce.plan import configure
from reproduce.records import read_json, read_records
from tests.reproduce.examples import make_options, make_record, make_row, write_record


def test_only_what_changes_the_run_counts():
    now = settings_of(default_config())
    before = settings_of(default_config())
    del before["training"]["precision"]  # older than the field
    before["data"]["dir"], before["logging"]["every"], before["seed"] = "elsewhere", 7, 3
    assert differing_fields(before, now, but=("seed",)) == []
    assert differing_fields(before, now) == ["config.seed was 3 and is 0"]
    before["model"]["channels"] = 5
    assert differing_fields(before, now, but=("seed",)) == ["config.model.channels was 5 and is 12"]


def test_records_of_another_configuration_are_left_out_and_named(tmp_path):
    row, options = make_row(tmp_path), make_options(tmp_path)
    for seed in (11, 2):
        write_record(make_record(row, "paper", seed, options, 0.9), options)
    other = make_record(row, "paper", 3, options, 0.9)
    other["settings"]["training"]["iterations"] = 99
    write_record(other, options)
    write_record(make_record(row, "released", 4, options, 0.9), options)
    (options.records / "paper_small_paper_seed5.partial").write_text("half")
    (options.records / "paper_small_paper_seedling.json").write_text("something else")
    records, left_out = read_records(options.records, "paper", "small", "paper", configure(row, "paper", options))
    assert [record["seed"] for record in records] == [2, 11]
    (sentence,) = left_out
    assert sentence == (
        "paper_small_paper_seed3.json is of another configuration: config.training.iterations was 99 and is 4"
    )


def test_a_damaged_record_is_an_error(tmp_path):
    assert read_json(tmp_path / "nothing.json") is None
    (tmp_path / "half.json").write_text('{"status": ')
    with pytest.raises(ReproduceError, match=r"half.json cannot be read .* Remove it, and its run is recorded again"):
        read_json(tmp_path / "half.json")
