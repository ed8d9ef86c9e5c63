"""What travels to a machine without a network: the data that training would read here."""

import subprocess
import sys

import numpy as np
import pytest

from mpcc_jax.data import load_dataset
from tests.conftest import ROOT, tiny_config
from tests.tfds_data import prepare_labelled


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tfds")
    prepare_labelled(directory, "mnist", {"train": 12, "test": 6}, (32, 32, 1))
    return directory


def pack(prepared, out, *arguments):
    command = [sys.executable, "-m", "deploy.gpu_lease.pack", "--config", "configs/mnist.py", "--out", out, "--wheels="]
    command += [f"--config.data.dir={prepared}", "--config.data.cache=False", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def read(name, **settings):
    config = tiny_config()
    config.data.update({"name": name, "resolution": 32, "cache": False, **settings})
    return load_dataset(config)


@pytest.mark.parametrize(("arguments", "kind"), [((), "npz:{}/data.npz"), (("--encoded",), "folder:{}/data")])
def test_what_is_packed_is_what_training_reads_here(prepared, tmp_path, arguments, kind):
    done = pack(prepared, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    if arguments:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", tmp_path / "data.zip", tmp_path / "data"], check=True)
    there, here = read(kind.format(tmp_path)), read("mnist", dir=str(prepared))
    by_number = [np.argsort(dataset.images[:, 0, 0, 0]) for dataset in (there, here)]
    np.testing.assert_array_equal(there.images[by_number[0]], here.images[by_number[1]])
    np.testing.assert_array_equal(there.labels[by_number[0]], here.labels[by_number[1]])


def test_missing_data_is_named(tmp_path):
    done = pack(tmp_path, tmp_path / "out", "--encoded")
    assert done.returncode == 1
    assert "error: 'mnist' is not prepared in" in done.stderr
