"""The directory of a run: its configuration and its log."""

import json

import filelock
import pytest

from mpcc_jax.errors import ConfigError, WorkdirError
from mpcc_jax.training.logging import open_log
from mpcc_jax.workdir import check_same_run, lock_workdir, prepare_workdir, read_run, write_json
from tests.conftest import tiny_config


def start_run(workdir):
    write_json(workdir / "config.json", json.loads(tiny_config().to_json_best_effort()))


def test_the_same_configuration_goes_on(tmp_path):
    start_run(tmp_path)
    check_same_run(tmp_path, tiny_config(), override=False)


def test_another_configuration_is_shown_and_refused(tmp_path):
    start_run(tmp_path)
    config = tiny_config()
    config.seed = 4
    config.conventions.upsampling = "nearest"
    check_same_run(tmp_path, config, override=False)  # nothing has been trained yet
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    with pytest.raises(ConfigError) as error:
        check_same_run(tmp_path, config, override=False)
    for text in (
        "config.seed was 0 and is 4",
        "config.conventions.upsampling was None and is 'nearest'",
        "--resume=override",
    ):
        assert text in str(error.value)
    check_same_run(tmp_path, config, override=True)


def test_what_does_not_change_the_computation_may_change(tmp_path):
    start_run(tmp_path)
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    config = tiny_config()
    config.training.iterations = 400
    config.mesh.devices, config.logging.every, config.data.dir = 4, 7, "/elsewhere"
    check_same_run(tmp_path, config, override=False)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("checkpoints/100/weights", "?"),
        ("results.json", "{}"),
        ("data.png", "somebody's"),
        ("reconstructions.png", "somebody's"),
        ("report.html", "somebody's"),
        ("report/index.html", "somebody's"),
        ("seed_3/notes.txt", "somebody's"),
        ("config.json", '{"hidden_size": 768, "model_type": "bert"}'),
        ("config.json", "[1, 2]"),
        ("config.json", "not JSON"),
    ],
)
def test_a_directory_of_another_project_is_left_alone(tmp_path, name, content):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    message = f"which has {name.split('/')[0]} but no config.json of a run of mpcc_jax, so it belongs to something else"
    with pytest.raises(WorkdirError, match=message):
        check_same_run(tmp_path, tiny_config(), override=True)


def test_a_run_cannot_become_shorter(tmp_path):
    start_run(tmp_path)
    (tmp_path / "checkpoints" / "10").mkdir(parents=True)
    with pytest.raises(
        ConfigError, match=r"has trained 10 iterations, and config.training.iterations is 4; allowed: 10"
    ):
        check_same_run(tmp_path, tiny_config(), override=True)


def test_other_files_in_a_new_directory_do_no_harm(tmp_path):
    (tmp_path / "slurm-17.out").write_text("")
    (tmp_path / "checkpoints").mkdir()  # a start that was killed early
    check_same_run(tmp_path, tiny_config(), override=False)


def test_the_log_is_cut_back_to_what_is_kept(tmp_path):
    lines = [json.dumps({"iteration": iteration, "loss": 1.0}) for iteration in (10, 20, 30)]
    (tmp_path / "log").write_text("\n".join([*lines, '{"iteration": 40, "lo']))
    with open_log(tmp_path / "log", 20) as log:
        log.write("next\n")
    assert (tmp_path / "log").read_text().splitlines() == [*lines[:2], "next"]
    open_log(tmp_path / "log", 0).close()
    assert (tmp_path / "log").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log"]


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkdirError, match=r"which cannot be written \(Not a directory\)"):
        prepare_workdir(tmp_path / "file" / "run")


@pytest.mark.parametrize("workdir", ["", "  "])
def test_an_empty_name_is_no_directory(workdir):
    with pytest.raises(
        WorkdirError, match=r"--workdir is empty; allowed: the name of a folder. Is a variable not set\?"
    ):
        prepare_workdir(workdir)


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    warnings = []
    with lock_workdir(tmp_path, warnings.append):
        assert warnings == [
            f"the file system of {tmp_path} has no locks, so nothing keeps a second process from training there."
        ]


def test_a_field_that_is_newer_than_the_run_has_its_default(tmp_path):
    config = tiny_config()
    older = json.loads(config.to_json_best_effort())
    del older["training"]["precision"]
    (tmp_path / "config.json").write_text(json.dumps(older))
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    check_same_run(tmp_path, config, override=False)
    config.training.precision = "bfloat16"
    with pytest.raises(ConfigError, match="precision was 'float32' and is 'bfloat16'"):
        check_same_run(tmp_path, config, override=False)


def test_a_removed_field_counts_only_where_it_did_something(tmp_path):
    config = tiny_config()
    older = json.loads(config.to_json_best_effort())
    older["data"] |= {"crop_padding": 0, "flip": False}
    older["prior"] = {"kind": "gaussian_mixture", "sigma_min": 0.5, "initial_log_var": 1.0}
    older["speed"]["grouped_spectral_norms"] = True
    (tmp_path / "checkpoints" / "4").mkdir(parents=True)
    write_json(tmp_path / "config.json", older)
    write_json(tmp_path / "data.json", {})
    check_same_run(tmp_path, config, override=False)
    assert read_run(tmp_path)[0].to_dict() == config.to_dict()
    older["data"]["crop_padding"] = 4
    write_json(tmp_path / "config.json", older)
    with pytest.raises(ConfigError, match="crop_padding was 4 and is None"):
        check_same_run(tmp_path, config, override=False)
    with pytest.raises(ConfigError, match="not of this version"):
        read_run(tmp_path)
