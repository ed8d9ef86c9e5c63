"""The commands on a trained model, end to end on files."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.cli import commands
from mpcc_jax.console import Display
from mpcc_jax.errors import DataError, WorkdirError
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.trained_model import load
from tests.conftest import SMALL_IMAGES
from tests.trained import make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("commands") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep").mkdir()
    for index, image in enumerate(SMALL_IMAGES[:6, ..., 0]):
        Image.fromarray(image).save(folder / ("deep" if index % 2 else ".") / f"{index}.png")
    return folder


@pytest.fixture
def display():
    return Display(quiet=True)


def test_prediction_writes_a_table_and_copies(run, pictures, tmp_path, display):
    out = commands.predict(run, pictures, tmp_path / "new" / "clusters.csv", tmp_path / "sorted", display=display)
    rows = list(csv.DictReader(out.read_text().splitlines()))
    names = [row["path"] for row in rows]
    order = [int(name.rpartition("/")[2][:-4]) for name in names]
    trained = load(run)
    images = SMALL_IMAGES[order]
    np.testing.assert_array_equal([int(row["cluster"]) for row in rows], trained.predict(images))
    shares = trained.predict_proba(images).max(axis=-1)
    np.testing.assert_allclose([float(row["probability"]) for row in rows], shares, atol=1e-6)
    np.testing.assert_allclose([float(row["log_prob"]) for row in rows], trained.log_prob(images), atol=1e-4)
    for name, cluster in zip(names, trained.predict(images), strict=True):
        copy = tmp_path / "sorted" / f"cluster_{cluster}" / name
        assert copy.read_bytes() == (pictures / name).read_bytes()
    with pytest.raises(WorkdirError, match=r"--copy_to .* is not empty"):
        commands.predict(run, pictures, tmp_path / "x.csv", tmp_path / "sorted", display=display)


def test_arrays_are_copied_as_pictures(run, tmp_path, display):
    np.savez(tmp_path / "some.npz", images=SMALL_IMAGES[:4])
    commands.predict(run, tmp_path / "some.npz", copy_to=tmp_path / "sorted", display=display)
    assert (run / "predictions.csv").read_text().count("some.npz[") == 4
    cluster = load(run).predict(SMALL_IMAGES[2:3])[0]
    with Image.open(tmp_path / "sorted" / f"cluster_{cluster}" / "some_000002.png") as image:
        np.testing.assert_array_equal(np.asarray(image), SMALL_IMAGES[2, ..., 0])


def test_where_nothing_can_be_written(run, pictures, tmp_path, display):
    (tmp_path / "file").write_text("x")
    with pytest.raises(WorkdirError, match=r"--out is .*/file/c\.csv', which cannot be written"):
        commands.predict(run, pictures, tmp_path / "file" / "c.csv", display=display)
    with pytest.raises(WorkdirError, match=r"which is a folder; allowed: a file"):
        commands.predict(run, pictures, tmp_path, display=display)


def test_generation_in_three_forms(run, tmp_path, display):
    trained = load(run)
    expected = to_uint8(trained.generate(7, 5, cluster=1, truncation=0.5))
    options = {"num_images": 5, "cluster": 1, "truncation": 0.5, "key": 7, "display": display}
    with np.load(commands.generate(run, out=tmp_path / "some.npz", **options)) as arrays:
        np.testing.assert_array_equal(arrays["images"], expected)
        assert arrays["clusters"].tolist() == [1] * 5
        assert arrays["latents"].shape == (5, 8)
    folder = commands.generate(run, out=tmp_path / "folder", **options)
    assert sorted(path.name for path in folder.iterdir()) == [f"00000{i}_cluster_1.png" for i in range(5)]
    with Image.open(folder / "000003_cluster_1.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected[3, ..., 0])
    with Image.open(commands.generate(run, out=tmp_path / "sheet.png", **options)) as image:
        assert image.size == (5 * 9 - 1, 8)
        np.testing.assert_array_equal(np.asarray(image)[:, 9:17, 0], expected[1, ..., 0])
    with pytest.raises(WorkdirError, match=r"--out .* is not empty"):
        commands.generate(run, out=tmp_path / "folder", **options)


def test_reconstruction(run, pictures, tmp_path, display):
    error = commands.reconstruct(run, pictures, tmp_path / "pairs.npz", display=display)
    with np.load(tmp_path / "pairs.npz") as arrays:
        trained, originals = load(run), arrays["originals"]
        decoded = trained.reconstruct(originals)
        np.testing.assert_array_equal(arrays["reconstructions"], to_uint8(decoded))
        np.testing.assert_allclose(error, np.mean((decoded - (originals / 127.5 - 1.0)) ** 2), rtol=1e-5)
    commands.reconstruct(run, pictures, display=display)
    with Image.open(run / "reconstructed.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:8, :8, 0], originals[0, ..., 0])


def test_evaluation_says_what_its_figures_are_of(run, display):
    results = commands.evaluate(run, display, generation={"inception": "none"})
    stored = json.loads((run / "evaluation.json").read_text())
    assert stored == json.loads(json.dumps(results))
    assert stored["generator"] == {"weights": "moving average", "statistics": "standing"}
    assert (stored["iteration"], stored["evaluated_images"], stored["generation"]) == (4, 20, None)
    assert np.asarray(stored["confusion"]).sum() == 20
    assert {"ami", "reconstruction_mse", "latent_mse", "prior_overlap"} <= stored.keys()
    part = commands.evaluate(run, display, {"inception": "none"}, num_images=6, statistics="running")
    assert (part["evaluated_images"], part["generator"]["statistics"]) == (6, "running")


def test_other_data_than_that_of_the_run_is_refused(tmp_path, display):
    run = make_run(tmp_path / "run")
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**facts, "name": "arrays"}))
    with pytest.raises(DataError, match="name was 'arrays' and is 'npz:images'"):
        commands.evaluate(run, display)


def test_report(run, display):
    page = commands.report(run, display)
    assert page == run / "report.html"
    text = page.read_text()
    assert "MPCC on npz:images" in text
    assert text.count("data:image/") > 10
