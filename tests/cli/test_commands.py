"""The subcommands on a trained model and on the authors' weights, from the command line to the files."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.cli import commands, main
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.released.files import read_released
from mpcc_jax.trained_model import load
from tests.conftest import ROOT, SMALL_IMAGES
from tests.trained import make_run, tiny_state


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("commands") / "run")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six pictures, half of them in a subfolder, and a file that is none."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "deep").mkdir()
    for index, image in enumerate(SMALL_IMAGES[:6, ..., 0]):
        Image.fromarray(image).save(folder / ("deep" if index % 2 else ".") / f"{index}.png")
    (folder / "bad.png").write_text("x")
    return folder


def succeed(*argv):
    assert main([str(word) for word in argv]) == 0


def test_predict_writes_a_table_and_copies(run, pictures, tmp_path, capsys):
    out = tmp_path / "new" / "clusters.csv"
    succeed("predict", run, pictures, "--skip_bad", "--out", out, "--copy_to", tmp_path / "sorted", "--batch_size=8")
    output = capsys.readouterr().out
    assert "left out, since they cannot be read: bad.png" in output
    assert "6 images, by cluster: " in output
    assert f"written: {out}" in output
    rows = list(csv.DictReader(out.read_text().splitlines()))
    images = SMALL_IMAGES[[int(row["path"].rpartition("/")[2][:-4]) for row in rows]]
    encoding = load(run).encode(images)
    clusters = encoding.log_membership.argmax(axis=-1)
    assert [int(row["cluster"]) for row in rows] == clusters.tolist()
    shares = np.exp(encoding.log_membership.max(axis=-1))
    np.testing.assert_allclose([float(row["probability"]) for row in rows], shares, atol=1e-6)
    np.testing.assert_allclose([float(row["log_prob"]) for row in rows], encoding.log_prob, atol=1e-4)
    for row, cluster in zip(rows, clusters, strict=True):
        copy = tmp_path / "sorted" / f"cluster_{cluster}" / row["path"]
        assert copy.read_bytes() == (pictures / row["path"]).read_bytes()


NAMES = (
    "[b]",
    "$5_$10",
    "<b>",
    "{{x}}",
    "'\"",
    "a\nb",
    "\x1b[31m",
    "bad\udcff",
    "\N{CAT}",
    "-a",
    " a ",
    "a,b",
    "n" * 251,
)


def test_pictures_may_have_any_name(run, tmp_path, capfd):
    """The same bytes in the folders and the table; nothing that moves the cursor in the terminal."""
    folder = tmp_path / "new\n[line]"
    for index, name in enumerate(NAMES):
        (folder / name[:100]).mkdir(parents=True)
        Image.fromarray(SMALL_IMAGES[index, ..., 0]).save(folder / name[:100] / f"{name}.png")
    (folder / "\x1b[2Jbroken\udcff.png").write_text("x")
    out = tmp_path / "bad\udcff.csv"
    succeed("predict", run, folder, "--skip_bad", "--out", out, "--copy_to", tmp_path / "sorted [1]")
    with out.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["path"] for row in rows) == sorted(f"{name[:100]}/{name}.png" for name in NAMES)
    for row in rows:
        copy = tmp_path / "sorted [1]" / f"cluster_{row['cluster']}" / row["path"]
        assert copy.read_bytes() == (folder / row["path"]).read_bytes()
    shown = capfd.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2Jbroken\\udcff.png" in shown
    assert f"written: {tmp_path}/bad\\udcff.csv" in shown


def test_a_table_is_complete_or_absent(run, tmp_path, monkeypatch):
    def fill(*_):
        raise OSError(28, "No space left on device")

    writer = SimpleNamespace(writerow=lambda row: None, writerows=fill)
    monkeypatch.setattr(commands.csv, "writer", lambda stream: writer)
    with pytest.raises(OSError, match="No space left"):
        main(["predict", str(run), str(run / "images.npz"), f"--out={tmp_path / 'new.csv'}"])
    assert list(tmp_path.iterdir()) == []


def test_endings_say_what_is_written_in_any_case(run, tmp_path):
    for name in ("sheet.PNG", "some.Npz"):
        succeed("generate", run, "--num_images=2", "--out", tmp_path / name)
    with Image.open(tmp_path / "sheet.PNG") as image:
        assert image.format == "PNG"
    with np.load(tmp_path / "some.Npz") as arrays:
        assert len(arrays["images"]) == 2


def test_reconstructions_in_a_folder_have_the_names_of_the_pictures_once(run, pictures, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.JPG.png", "c" * 240 + ".png"):
        Image.fromarray(SMALL_IMAGES[0, ..., 0]).save(tmp_path / "in" / name)
    succeed("reconstruct", run, tmp_path / "in", "--out", tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[:2] == ["000000_a.png", "000001_b.JPG.png"]
    assert names[2].startswith("000002_ccc")


def test_predict_copies_arrays_as_pictures(run, tmp_path):
    succeed("predict", run, run / "images.npz", "--copy_to", tmp_path / "sorted")
    assert (run / "predictions.csv").read_text().count("images.npz[") == 20
    cluster = load(run).predict(SMALL_IMAGES[2:3])[0]
    with Image.open(tmp_path / "sorted" / f"cluster_{cluster}" / "images_000002.png") as image:
        np.testing.assert_array_equal(np.asarray(image), SMALL_IMAGES[2, ..., 0])


def test_generate_in_three_forms(run, tmp_path):
    expected = to_uint8(load(run).generate(7, 5, cluster=1, truncation=0.5))
    for name in ("some.npz", "folder", "sheet.png"):
        flags = ["--num_images=5", "--cluster=1", "--truncation=0.5", "--key=7"]
        succeed("generate", run, *flags, "--out", tmp_path / name)
    with np.load(tmp_path / "some.npz") as arrays:
        np.testing.assert_array_equal(arrays["images"], expected)
        assert (arrays["clusters"].tolist(), arrays["latents"].shape) == ([1] * 5, (5, 8))
    paths = sorted((tmp_path / "folder").iterdir())
    assert [path.name for path in paths] == [f"00000{i}_cluster_1.png" for i in range(5)]
    with Image.open(paths[3]) as image:
        np.testing.assert_array_equal(np.asarray(image), expected[3, ..., 0])
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (5 * 33 - 1, 32)
        np.testing.assert_array_equal(np.asarray(image)[:32:4, 33:65:4, 0], expected[1, ..., 0])


def test_reconstruct(run, tmp_path, capsys):
    succeed("reconstruct", run, run / "images.npz", "--out", tmp_path / "pairs.npz")
    decoded = load(run).reconstruct(SMALL_IMAGES)
    with np.load(tmp_path / "pairs.npz") as arrays:
        np.testing.assert_array_equal(arrays["originals"], SMALL_IMAGES)
        np.testing.assert_array_equal(arrays["reconstructions"], to_uint8(decoded))
    error = np.mean((decoded - (SMALL_IMAGES / 127.5 - 1.0)) ** 2)
    assert f"20 images reconstructed, mean squared error {error:.4f}" in capsys.readouterr().out
    succeed("reconstruct", run, run / "images.npz")
    with Image.open(run / "reconstructed.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[:32:4, :32:4, 0], SMALL_IMAGES[0, ..., 0])


def test_evaluate_and_report(run, capsys, monkeypatch):
    (run / "results.json").write_text(json.dumps({"training_seconds": 5.0, "nmi": 7.0}))
    succeed("evaluate", run, "--inception=none")
    stored = json.loads((run / "results.json").read_text())
    assert stored["generator"] == {"weights": "moving average", "statistics": "standing"}
    assert (stored["iteration"], stored["evaluated_images"], stored["generation"]) == (4, 20, None)
    assert (stored["training_seconds"], np.sum(stored["confusion"])) == (5.0, 20)
    assert stored["nmi"] <= 1
    assert {"ami", "reconstruction_mse", "latent_mse", "prior_overlap", "machine", "versions"} <= stored.keys()
    assert "accuracy, many to one (Eq. 11)" in capsys.readouterr().out
    (run / "results.json").write_text(json.dumps({**stored, "generation": {"fid": 123.5}}))
    pages = []
    monkeypatch.setattr(commands, "write_page", lambda *page: pages.append(page))
    succeed("report", run)
    ((findings, folder),) = pages
    assert (folder, findings.title, findings.generation) == (run, "MPCC on npz:images", {"fid": 123.5})
    del stored["generation"]  # as training writes it
    (run / "results.json").write_text(json.dumps(stored))
    succeed("report", run)
    assert pages[-1][0].generation is None


def test_scores_of_an_older_checkpoint_overwrite_nothing(tmp_path):
    run = make_run(tmp_path / "run", states={2: tiny_state(), 4: tiny_state()})
    succeed("evaluate", run, *["--checkpoint=2", "--inception=none", "--num_images=6", "--statistics=running"])
    assert not (run / "results.json").exists()
    stored = json.loads((run / "results_at_2.json").read_text())
    assert (stored["iteration"], stored["evaluated_images"], stored["generator"]["statistics"]) == (2, 6, "running")


def test_authors_weights_become_a_run_and_files_again(tmp_path):
    workdir, golden = tmp_path / "run", ROOT / "tests" / "golden" / "golden_cbn.npz"
    overrides = ("--config.model.channels=2", "--config.variant=released")
    flags = ("--config=mnist", *overrides, "--released_dir", golden, "--workdir", workdir, "--iteration=9")
    succeed("import-weights", *flags)
    assert (load(workdir).config.variant, load(workdir).iteration) == ("released", 9)
    succeed("export-weights", workdir, "--out", tmp_path / "theirs", "--format=safetensors")
    before, after = (read_released(path) for path in (golden, tmp_path / "theirs"))
    assert all(after[name].tobytes() == array.tobytes() for name, array in before.items())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate {run}/none", "which holds no run"),
        ("generate {run} --cluster=3", "cluster is 3; allowed: 0 to 2."),
        ("generate {run} --out={run}", "--out is '{run}', which is not empty"),
        ("predict {run} {run}/images.npz --copy_to={run}", "--copy_to is '{run}', which is not empty"),
        ("predict {run} {run}/images.npz --out={run}", "which is a folder; allowed: a file"),
        ("predict {run} {run}/images.npz --out={run}/images.npz/c", "--out is '{run}/images.npz/c', which cannot be"),
        ("export {run} --seed=0 --out={run}/new", "--seed is 0; allowed: one of several seeds"),
        ("statistics digits --inception={run}/none.pth", "the weights of Inception are not at"),
        ("import-weights --config=mnist --released_dir={run}/none --workdir={run}/new", "and nothing is there"),
    ],
)
def test_mistakes_end_in_one_line(run, line, message, capsys):
    assert main(line.format(run=run).split()) == 1
    error = capsys.readouterr().err
    assert message.format(run=run) in error
    assert len(error.strip().splitlines()) == 1


def test_other_data_than_that_of_the_run_is_refused(tmp_path, capsys):
    run = make_run(tmp_path / "run")
    facts = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps({**facts, "name": "arrays"}))
    assert main(["evaluate", str(run)]) == 1
    assert "name was 'arrays' and is 'npz:images'" in capsys.readouterr().err
