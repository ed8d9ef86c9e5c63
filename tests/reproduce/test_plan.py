import json

import pytest

from mpcc_jax.config import load_config
from mpcc_jax.errors import ConfigError
from mpcc_jax.workdir import check_same_config, settings_of
from reproduce.catalogue import DIGITS
from reproduce.errors import ReproduceError
from reproduce.plan import DONE, HALF_DONE, NEW, TRAINED, configure, inspect, plan_runs
from tests.reproduce.examples import make_options, make_record, make_row, write_record


@pytest.fixture
def row(tmp_path):
    return make_row(tmp_path)


def plan(row, options, seeds=(0,), arms=("paper",)):
    return plan_runs([row], arms, seeds, options)


def begin(run, checkpoint=None, results=None, **changes):
    """A working directory as training leaves it, as far as the plan looks."""
    run.workdir.mkdir(parents=True)
    config = run.config.copy_and_resolve_references()
    config.training.update(changes)
    (run.workdir / "config.json").write_text(json.dumps(settings_of(config)))
    if checkpoint:
        (run.workdir / "checkpoints" / str(checkpoint) / "state").mkdir(parents=True)
    if results:
        (run.workdir / "results.json").write_text(json.dumps({"iterations": results}))


def test_first_seeds_first_each_in_its_directory(row, tmp_path):
    options = make_options(tmp_path)
    runs = plan(row, options, (0, 2), ("paper", "released"))
    told = [str(run.workdir.relative_to(tmp_path)) for run in runs]
    assert told == [f"runs/paper/small/{arm}/seed{seed}" for seed in (0, 2) for arm in ("paper", "released")]
    assert runs[3].record_path(2) == tmp_path / "out/runs/paper_small_released_seed2.json"
    expected = [(0, "paper"), (0, "released"), (2, "paper"), (2, "released")]
    assert [(run.config.seed, run.config.variant) for run in runs] == expected


def test_the_digits_are_the_run_that_launch_py_trains(tmp_path):
    """python launch.py --config configs/digits.py --config.seed=3 --config.variant=released."""
    trained = load_config(DIGITS.config)
    trained.seed, trained.variant = 3, "released"
    run = plan(DIGITS, make_options(tmp_path, scale="cpu", data_dir="elsewhere"), (3,), ("released",))[0]
    assert run.workdir == tmp_path / "runs/cpu/digits/released/seed3"
    begin(run, checkpoint=6000, results=6000)
    (run.workdir / "config.json").write_text(trained.to_json_best_effort())
    assert inspect(run).kind == TRAINED
    check_same_config(run.workdir, run.config, override=False)


def test_seeds_in_a_row_train_together(row, tmp_path):
    options = make_options(tmp_path, seeds_at_once=2)
    runs = plan(row, options, (0, 1, 2, 4))
    assert [run.seeds for run in runs] == [(0, 1), (2,), (4,)]
    assert [run.workdir.name for run in runs] == ["seeds0to1", "seed2", "seed4"]
    assert (runs[0].config.seed, runs[0].config.num_seeds) == (0, 2)
    write_record(make_record(row, "paper", 1, options, 0.9), options)
    assert [run.seeds for run in plan(row, options, (0, 1))] == [(0,), (1,)], "seed 1 is there already"
    begin(runs[0], checkpoint=2)
    assert [run.seeds for run in plan(row, options, (0, 1))] == [(0, 1)], "goes on as it began"


def test_how_far_a_run_has_come(row, tmp_path):
    options = make_options(tmp_path)
    runs = plan(row, options, range(5))
    begin(runs[1])
    begin(runs[2], checkpoint=2)
    begin(runs[3], checkpoint=4, results=4)
    write_record(make_record(row, "paper", 4, options, 0.9), options)
    assert [inspect(run).kind for run in runs] == [NEW, NEW, HALF_DONE, TRAINED, DONE]
    assert inspect(runs[0]).words == ""
    assert inspect(runs[1]).words == "written 0 minutes ago"
    assert inspect(runs[2]).words.startswith("2 of 4 iterations; written 0 minutes ago")


def test_results_of_a_shorter_run_are_not_those_of_this_one(row, tmp_path):
    run = plan(row, make_options(tmp_path))[0]
    begin(run, checkpoint=2, results=2)
    assert inspect(run).kind == HALF_DONE


def test_figures_that_are_missing_are_to_be_measured_where_that_is_possible(row, tmp_path):
    options = make_options(tmp_path)
    run = plan(row, options)[0]
    write_record(make_record(row, "paper", 0, options, 0.9), options)
    assert inspect(run, generation=True).kind == DONE, "its working directory is gone"
    begin(run, checkpoint=4, results=4)
    assert (inspect(run, generation=True).kind, inspect(run).kind) == (TRAINED, DONE)
    write_record(make_record(row, "paper", 0, options, 0.9, generation={"fid": 9.0}), options)
    assert inspect(run, generation=True).kind == DONE


def test_a_failed_run_is_tried_again_and_says_why_it_failed(row, tmp_path):
    options = make_options(tmp_path)
    run = plan(row, options)[0]
    write_record(make_record(row, "paper", 0, options, 0.9, status="failed", reason="not finite"), options)
    assert inspect(run) == (NEW, "failed before: not finite")


@pytest.mark.parametrize("finished", [False, True])
def test_a_run_of_another_configuration_is_refused(row, tmp_path, finished):
    run = plan(row, make_options(tmp_path))[0]
    begin(run, checkpoint=None if finished else 2, results=4 if finished else None, batch_size=4)
    with pytest.raises(ReproduceError, match=r"config.training.batch_size was 4 and is 8. Move it away, .* --runs"):
        inspect(run)


def test_a_record_of_another_configuration_is_refused(row, tmp_path):
    write_record(make_record(row, "paper", 0, make_options(tmp_path), 0.9), make_options(tmp_path))
    run = plan(row, make_options(tmp_path, precision="bfloat16"))[0]
    with pytest.raises(ReproduceError, match=r"precision was 'float32' and is 'bfloat16'. Move it away, .* --out"):
        inspect(run)


def test_what_does_not_change_the_run_may_change(row, tmp_path):
    run = plan(row, make_options(tmp_path))[0]
    begin(run, checkpoint=2)
    moved = plan(row, make_options(tmp_path, data_dir="elsewhere"))[0]
    assert moved.config.data.dir == "elsewhere"
    assert inspect(moved).kind == HALF_DONE


def test_a_configuration_that_is_not_there(row, tmp_path):
    row.config.unlink()
    with pytest.raises(ConfigError, match=r"small.py' is not a file; the experiments are in configs/"):
        configure(row, "paper", make_options(tmp_path))
