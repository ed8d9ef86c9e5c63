"""The GPU suite from end to end, tiny and on CPU, and what it does without a GPU and without most packages."""

import json
import os
import subprocess
import sys

import pytest

from benchmarks.gpu.session import read
from tests.conftest import ROOT

# What a machine with a GPU may lack; chex and flax bring absl, rich and PyYAML, jax SciPy.
MISSING = (
    *("ml_collections", "clu", "grain", "tensorboardX", "tensorflow", "tensorflow_datasets", "array_record"),
    *("sklearn", "matplotlib", "PIL", "jinja2", "safetensors", "torch"),
)


def start(*arguments, **variables):
    command = [sys.executable, "-m", "benchmarks.gpu_suite", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_tiny_run(tmp_path):
    stages = "headline,correctness,peer_mnist,profile"
    cache = ROOT / ".cache" / "jax"
    done = start("--tiny", "--stages", stages, "--cache", cache, "--peer_python", sys.executable, OUT=str(tmp_path))
    log = (tmp_path / "log.txt").read_text()
    assert done.returncode == 0, done.stderr + log
    records = read(tmp_path)
    by_kind = {record["kind"]: record for record in records if not record.get("error")}
    assert set(by_kind) >= {"hardware", "speed", "correctness", "profile", "stage"}, log
    assert by_kind["speed"]["finite"]
    assert by_kind["speed"]["precision"] == by_kind["profile"]["precision"] == "bfloat16"
    assert min(by_kind["speed"]["iterations_per_second"]) > 0
    judged = [record for record in records if record["kind"] == "correctness"]
    assert all(record["passed"] for record in judged), judged
    differences = {(record["precision"], record["against"]): record["largest"] for record in judged}
    assert differences["float32", "float32 on the CPU"] == 0
    assert differences["bfloat16", "float32 on the device"] > 0
    (peer,) = [record for record in records if record["kind"] == "peer"][:1]
    assert "has no torch" in peer.get("error", "") or peer["ratio"]
    assert json.loads((tmp_path / "profile_mnist.json").read_text())["by_kind"]["idle"] >= 0
    text = (tmp_path / "gpu.md").read_text()
    assert "No GPU: this was a tiny run" in text
    assert "## Profile: mnist" in text
    assert text in done.stdout


def test_without_a_gpu_nothing_is_measured(tmp_path):
    done = start("--out", tmp_path, "--stages", "headline,seeds")
    assert done.returncode == 3
    assert "no GPU: install jax[cuda12]" in (tmp_path / "log.txt").read_text()
    assert [record["stage"] for record in read(tmp_path)] == ["headline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--stages", "headline,fast"], "--stages has fast; allowed"), (["--budget", "0"], "--budget is 0.0")],
)
def test_wrong_arguments(arguments, message):
    done = start(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_it_does_without_most_packages(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {MISSING!r}:\n"
        "            raise ModuleNotFoundError(f'{name} is not installed here')\n"
        "sys.meta_path.insert(0, Missing())\n"
        "import jax\n"
        "from benchmarks.gpu import plan, report\n"
        "from benchmarks.gpu.configs import EXPERIMENTS, load_config, with_precision\n"
        "functions = [plan.function_of(stage) for stage in plan.STAGES]\n"
        "from benchmarks.compare import peer_settings\n"
        "from benchmarks import ours\n"
        "from mpcc_jax.training.state import build_algorithm, state_shapes\n"
        "for name, experiment in EXPERIMENTS.items():\n"
        "    config = with_precision(load_config(name), 'bfloat16')\n"
        "    state_shapes(build_algorithm(config, experiment.image_channels))\n"
        "    peer_settings(config, experiment.image_channels)\n"
        "    ours.make_layout(config, jax.devices()[:1])\n"
        "print('all there')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "all there\n", done.stderr[-2000:]
