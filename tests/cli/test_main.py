"""`main` as a whole: training from a configuration, mistakes that end in one line, and what it does without jax."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.cli import main
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.training import train as train_module
from tests.conftest import ROOT, SMALL_IMAGES

TINY = """
from tests.conftest import tiny_config

def get_config(clusters="3"):
    config = tiny_config()
    config.data.update({"name": "npz:images.npz", "cache": False})
    config.model.num_clusters = int(clusters)
    config.evaluation.samples_per_cluster = 2
    return config
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current directory: configurations, and images to train on."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "tiny.py").write_text(TINY)
    (tmp_path / "configs" / "broken.py").write_text("def get_config():\n    return {}['missing']\n")
    (tmp_path / "configs" / "empty.py").write_text("")
    np.savez(tmp_path / "images.npz", images=SMALL_IMAGES, labels=np.arange(len(SMALL_IMAGES)) % 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_into_the_default_folder(folder, capsys, monkeypatch):
    assert main(["--config", "configs/tiny.py", "--config.seed=3"]) == 0
    output, workdir = capsys.readouterr().out, folder / "runs" / "tiny_seed3"
    assert "runs/tiny_seed3" in output
    results = json.loads((workdir / "results.json").read_text())
    assert (results["iterations"], results["seed"], sum(results["cluster_sizes"])) == (4, 3, 20)
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines if "generator_loss" in line] == [2, 4]
    assert {"clusters.png", "reconstructions.png"} <= {path.name for path in workdir.iterdir()}

    changed = ["--config.seed=3", "--config.training.iterations=8", "--config.training.learning_rate=1e30"]
    assert main(["train", "tiny", *changed]) == 1
    assert "config.training.learning_rate was 0.0002 and is 1e+30" in capsys.readouterr().err

    def check(*_):
        raise NonFiniteError("Iteration 5 is not finite")

    # Started again it goes on. Where it cannot go on it stops, says where, and keeps what it has.
    monkeypatch.setattr(train_module, "check_finite", check)
    assert main(["train", "tiny", *changed[:2]]) == 3
    assert capsys.readouterr().err == "error: Iteration 5 is not finite\n"
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["4"]


def test_names_of_configurations(capsys):
    for name in ("tiny", "configs/tiny.py", "tiny:4"):
        assert main(["prepare", name]) == 0
        assert "20 of 8x8x1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tiny --config.training.iteratons=3", "the configuration has no field 'iteratons'"),
        ("tiny --config.seed=x", "--config.seed=x: invalid literal for int()"),
        ("tiny --config.seed", "Missing value for flag --config.seed"),
        ("tiny --config.variant=papper", "config.variant is 'papper'; allowed: 'paper', 'released', 'extended'."),
        ("configs/tinny.py", "the configuration 'configs/tinny.py' is not a file"),
        ("broken", "configs/broken.py is not a configuration that works (KeyError: 'missing')"),
        ("empty", "configs/empty.py has no function get_config; allowed: a file with"),
        ("tiny:many", "configs/tiny.py is not a configuration that works (ValueError: "),
        ("tiny --config.data.name=mnist --config.data.dir=/nowhere", "mpcc prepare mnist --config.data.dir=/nowhere"),
        ("tiny --coordinator=here:1", "--num_processes and --process_id must be given with --coordinator"),
        ("tiny --workdir=/dev/null/run", "--workdir is '/dev/null/run', which cannot be written"),
    ],
)
def test_mistakes_end_in_one_line_before_anything_compiles(line, message, folder, capsys):
    assert main(["train", *line.split()]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not (folder / "runs").exists()


class Broken(io.StringIO):
    """Output whose reader has gone, or whose disk is full, after a line."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        if self.getvalue():
            raise self.error
        return super().write(text)


@pytest.mark.parametrize(
    "stream", [None, Broken(BrokenPipeError()), Broken(OSError(28, "full")), Broken(ValueError("closed"))]
)
def test_training_goes_on_without_an_output(stream, folder, monkeypatch):
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "tiny"]) == 0
    assert json.loads((folder / "runs" / "tiny" / "results.json").read_text())["iterations"] == 4


@pytest.mark.parametrize(
    ("environment", "output", "message"),
    [
        ({"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "", ""),
        ({"JAX_PLATFORMS": "cuda"}, "", "error: jax finds no device of JAX_PLATFORMS=cuda here"),
        ({}, "| head -c 1", ""),
        ({}, "> /dev/full", ""),
        ({}, ">&-", ""),
    ],
)
def test_whatever_the_process_is_started_with(environment, output, message, tmp_path):
    (tmp_path / "pictures").mkdir()
    name = os.fsdecode("pictures/\N{CAT}".encode() + b"\xff.png")
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / name)
    command = f"set -o pipefail; {sys.executable} {ROOT}/launch.py predict digits pictures --out=out.csv {output}"
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    variables["JAX_COMPILATION_CACHE_DIR"] = str(ROOT / ".cache" / "jax")
    run = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert "Traceback" not in run.stderr
    assert message in run.stderr
    assert run.returncode == (1 if message else 0), run.stderr
    assert (tmp_path / "out.csv").exists() == (not message)
    if not message:
        assert (tmp_path / "out.csv").read_bytes().splitlines()[1].startswith("\N{CAT}".encode() + b"\xff.png,")


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "run"]])
def test_help_and_wrong_flags_do_without_jax(arguments):
    report = "atexit.register(lambda: print('jax' in sys.modules))"
    code = f"import atexit, runpy, sys; {report}; runpy.run_path('launch.py', run_name='__main__')"
    run = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == (arguments != ["--help"])
    assert run.stdout.endswith("False\n")
    assert "Traceback" not in run.stderr
