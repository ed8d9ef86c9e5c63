"""The package is whole: what a wheel ships beside modules, and the models in it."""

import fnmatch
import tomllib

import numpy as np
import pytest
from sklearn.datasets import load_digits

import mpcc_jax
from mpcc_jax.cli import main
from mpcc_jax.workdir import PRETRAINED, read_settings
from tests.conftest import ROOT

SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_file_of_the_package_is_shipped():
    package = ROOT / "mpcc_jax"
    patterns = [
        f"{name.replace('.', '/')}/{pattern}" for name, values in SETTINGS["package-data"].items() for pattern in values
    ]
    files = [path.relative_to(ROOT) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    others = [str(path) for path in files if path.suffix != ".py"]
    assert "mpcc_jax/py.typed" in others
    assert [path for path in others if not any(fnmatch.fnmatch(path, pattern) for pattern in patterns)] == []
    # Modules outside of packages are not found.
    assert [path for path in files if path.suffix == ".py" and not (ROOT / path.parent / "__init__.py").exists()] == []
    assert (package / "configs").resolve() == ROOT / "configs"


@pytest.mark.parametrize("name", [path.name for path in sorted(PRETRAINED.iterdir())])
def test_shipped_models_generate_and_have_a_card(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["generate", name, "--cluster=3", "--num_images=4", "--out=four.npz"]) == 0
    assert "is a model that comes with mpcc_jax" in capsys.readouterr().out
    with np.load("four.npz") as arrays:
        assert arrays["images"].shape[0] == 4
        assert arrays["images"].std() > 30
        assert set(arrays["clusters"]) == {3}
    card = (PRETRAINED / name / "README.md").read_text()
    assert f"mpcc train {name}" in card
    assert f"{read_settings(PRETRAINED / name, 'results.json')['nmi']:.4f}" in card
    assert sum(path.stat().st_size for path in (PRETRAINED / name).iterdir()) < 2e6


def test_the_shipped_digits_reach_their_score():
    digits = load_digits()
    model = mpcc_jax.load("digits")
    clusters = model.predict(np.uint8(digits.images * 255 / 16))
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (clusters, digits.target), 1)
    published = read_settings(PRETRAINED / "digits", "results.json")["accuracy_many_to_one"]
    assert counts.max(axis=1).sum() / len(clusters) == pytest.approx(published, abs=0.002)
