import json
import re
import subprocess

import pytest

from mpcc_jax.config import settings_of
from mpcc_jax.errors import WorkdirError
from reproduce.runs import FAILED, Options, Run, plan_runs, read_commit, read_json, read_records, training_seconds
from tests.reproduce.examples import make_row, make_table, write_record

RESULTS = {"iterations": 400, "resumed_at": 0, "training_seconds": 12.5}


@pytest.fixture
def row(tmp_path):
    return make_row(tmp_path)


@pytest.fixture
def options(tmp_path):
    return Options(runs=tmp_path / "runs", out=tmp_path / "out")


def test_the_first_seeds_come_first_each_in_its_folder(row, options, tmp_path):
    runs = plan_runs([row], ("paper", "released"), (0, 2), options)
    names = [str(run.workdir.relative_to(tmp_path)) for run in runs]
    assert names == [f"runs/paper/small/{arm}/seed{seed}" for seed in (0, 2) for arm in ("paper", "released")]
    assert runs[3].record_path == tmp_path / "out/runs/paper_small_released_seed2.json"
    assert (runs[3].config.seed, runs[3].config.variant) == (2, "released")


def test_how_far_a_run_has_come(row, options, tmp_path):
    new, half_done, failed, done = plan_runs([row], ["paper"], range(4), options)
    (half_done.workdir / "checkpoints" / "2").mkdir(parents=True)
    write_record(failed, 0.9, status=FAILED, reason="not finite")
    write_record(done, 0.9)
    assert new.describe_progress() == "not begun"
    assert half_done.describe_progress() == "2 of 4 iterations"
    assert failed.describe_progress() == "not begun; failed before: not finite"
    assert done.describe_progress() == "finished"
    # FID can be measured where the working directory still is.
    done = Run(row, "paper", 3, Options(runs=options.runs, out=options.out, inception=tmp_path / "weights"))
    assert done.describe_progress() == "finished"
    done.workdir.mkdir(parents=True)
    assert done.describe_progress() == "to be measured"
    write_record(done, 0.9, generation={"fid": 9.0})
    assert done.describe_progress() == "finished"


def test_records_of_other_configurations_are_left_out_and_not_written_over(row, options):
    runs = plan_runs([row], ["paper"], (11, 2, 3), options)
    for run in runs[:2]:
        write_record(run, 0.9)
    settings = settings_of(runs[2].config)
    settings["training"]["iterations"] = 99
    write_record(runs[2], 0.9, settings=settings)
    write_record(Run(row, "released", 4, options), 0.9, status=FAILED, reason="Iteration 7 is not finite")
    records, failed, left_out = read_records(make_table(row), options)
    assert [record["seed"] for record in records["small", "paper"]] == [2, 11]
    assert records["small", "released"] == []
    assert failed == ["Small, released, seed 4: Iteration 7 is not finite"]
    words = "of another configuration: config.training.iterations was 99 and is 4"
    assert left_out == [f"paper_small_paper_seed3.json is {words}"]
    with pytest.raises(WorkdirError, match=rf"seed3.json is {words}. Move it away, or choose another --out"):
        runs[2].describe_progress()


def test_records_older_than_a_field_and_of_other_places_count(row, options):
    run = Run(row, "paper", 0, options)
    before = settings_of(run.config)
    del before["training"]["precision"]
    before["data"]["dir"], before["logging"]["every"], before["seed"], before["gone"] = "elsewhere", 7, 3, 1
    write_record(run, 0.9, settings=before)
    assert run.describe_progress() == "finished"


def test_a_damaged_record_is_an_error(tmp_path):
    assert read_json(tmp_path / "nothing.json") is None
    (tmp_path / "half.json").write_text('{"status": ')
    with pytest.raises(WorkdirError, match=r"half.json cannot be read .* Move it away, and it is made again"):
        read_json(tmp_path / "half.json")


def test_the_hours_of_an_interrupted_run_are_those_of_its_log(tmp_path):
    log = tmp_path / "metrics.jsonl"
    assert training_seconds(RESULTS, log) == 12.5
    resumed = {**RESULTS, "resumed_at": 300}
    assert training_seconds(resumed, log) is None
    # The first line of a start has no rate when its call was the first.
    rates = {100: None, 200: 10.0, 300: 5.0, 400: 20.0}
    lines = [{"iteration": at, **({"iterations_per_second": rate} if rate else {})} for at, rate in rates.items()]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert training_seconds(resumed, log) == pytest.approx(200 / 10 + 100 / 5 + 100 / 20)
    assert training_seconds({**resumed, "iterations": 500}, log) is None, "the log ends before"


def test_the_commit_says_whether_files_were_changed(tmp_path):
    assert read_commit(tmp_path) == "not known"
    (tmp_path / "launch.py").write_text("one")
    who = ("-c", "user.name=test", "-c", "user.email=test@test")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    commit = read_commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{7,}", commit)
    (tmp_path / "launch.py").write_text("two")
    assert read_commit(tmp_path) == commit + "+changes"
