"""Every method finds what it can find and depends on images, K and seed alone; records are kept, not made twice."""

import itertools
import json

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_moons

from mpcc_jax.data import from_arrays
from mpcc_jax.evaluation.scores import many_to_one_accuracy
from reproduce import baselines
from reproduce.baselines import main, markdown_table, measure, read_records, run
from reproduce.classical import METHODS, Method, reduce_images
from reproduce.errors import ReproduceError
from tests.conftest import ROOT


def as_images(points):
    """Points of the plane as images of two pixels."""
    return np.clip(np.round(np.asarray(points) + 127.5), 0, 255).astype(np.uint8).reshape(len(points), 1, 2, 1)


def blobs():
    rng, labels = np.random.default_rng(0), np.arange(90) % 3
    centres = rng.integers(60, 200, (3, 4, 4, 1))
    return np.clip(centres[labels] + rng.normal(0, 6, (90, 4, 4, 1)), 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("name", [name for name in METHODS if name != "spectral"])
def test_separate_groups_are_found(name):
    images, labels = blobs()
    for seed in (0, 1):
        clusters = METHODS[name].fit(images, 3, seed)
        assert clusters.shape == (90,)
        assert set(clusters) == {0, 1, 2}
        assert many_to_one_accuracy(labels, clusters) == 1.0


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_says_all(name):
    images = load_digits().images[:500, ..., None].astype(np.uint8) * 15
    first, again = (METHODS[name].fit(images, 4, 3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", ["kmeans_pixels", "kmeans_pca"])
def test_kmeans_puts_every_image_to_the_nearest_mean(name):
    images = load_digits().images[:400, ..., None].astype(np.uint8) * 15
    features = images.reshape(400, -1) / 255.0
    if name == "kmeans_pca":
        _, values, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
        held = np.cumsum(values**2) / np.sum(values**2)
        features = features @ directions[: np.argmax(held >= 0.95) + 1].T
    clusters = METHODS[name].fit(images, 10, 0)
    means = np.stack([features[clusters == k].mean(axis=0) for k in range(10)])
    distances = np.sum((features[:, None] - means[None]) ** 2, axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), clusters)


def test_kmeans_on_the_digits_is_what_the_readme_says():
    digits = load_digits()
    images = np.round(digits.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
    assert many_to_one_accuracy(digits.target, METHODS["kmeans_pixels"].fit(images, 10, 0)) == pytest.approx(
        0.79, abs=0.01
    )


@pytest.mark.parametrize("strong", [3, 60])
def test_reduction_takes_what_is_fewer_of_50_components_and_95_percent(strong):
    """Independent directions of equal variance, and the rest of the pixels silent."""
    rng, images = np.random.default_rng(0), np.full((400, 8, 8, 1), 128)
    images.reshape(400, 64)[:, :strong] += rng.integers(-100, 101, (400, strong))
    reduction = reduce_images(images.astype(np.uint8), 0)
    pixels = images.reshape(400, 64) / 255.0
    values = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False) ** 2
    count = reduction.features.shape[1]
    assert (count, reduction.rule) == {3: (3, "95% of the variance"), 60: (50, "50 components")}[strong]
    assert reduction.variance == pytest.approx(values[:count].sum() / values.sum(), rel=1e-4)
    np.testing.assert_allclose(reduction.features.var(axis=0, ddof=0) * 400, values[:count], rtol=1e-3)
    assert reduction.features.dtype == np.float64


def test_full_covariances_find_slanted_groups_and_diagonal_ones_do_not():
    """Two long groups along the diagonal, side by side, which principal components leave slanted."""
    rng, labels = np.random.default_rng(0), np.arange(600) % 2
    along, across = rng.normal(0, 25, 600), rng.normal(0, 2.5, 600)
    points = np.stack([along + across + 70 * (labels - 0.5), along - across], axis=1)
    full, diagonal = (
        many_to_one_accuracy(labels, METHODS[f"gaussian_mixture_{kind}"].fit(as_images(points), 2, 0))
        for kind in ("full", "diagonal")
    )
    assert full > 0.99
    assert diagonal < 0.95


def test_spectral_clustering_follows_curves_that_kmeans_cuts():
    points, labels = make_moons(800, noise=0.09, random_state=0)
    images = as_images(60 * (points - points.mean(axis=0)))
    assert many_to_one_accuracy(labels, METHODS["spectral"].fit(images, 2, 0)) > 0.95
    assert many_to_one_accuracy(labels, METHODS["kmeans_pixels"].fit(images, 2, 0)) < 0.8


class Counting:
    """A method that says how often it was fitted: the first pixel is the cluster."""

    def __init__(self):
        self.fits = []

    def __call__(self, features, num_clusters, seed, **settings):
        assert settings in ({}, {"of": "the image"})
        self.fits.append((len(features), num_clusters, seed))
        return np.round(255 * features[:, 0]).astype(int) % num_clusters


@pytest.fixture
def counting(monkeypatch):
    method = Counting()
    monkeypatch.setattr(baselines, "METHODS", {"first_pixel": Method("first pixel", method, {"of": "the image"})})
    return method


def small_dataset(labels=(0, 0, 0, 1, 1, 1)):
    images = np.zeros((6, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = [0, 0, 1, 1, 1, 1]
    images[:, 1, 1, 0] = np.arange(6) * 40
    return from_arrays(images, None if labels is None else np.asarray(labels), name="small")


def test_records_say_what_was_done_and_scored(counting):
    dataset = small_dataset()
    record = measure("first_pixel", dataset.images, dataset.labels, 2, 7)
    assert counting.fits == [(6, 2, 7)]
    assert record["settings"] == {"of": "the image", "num_clusters": 2}
    assert (record["method"], record["seed"], record["count"], record["warnings"]) == ("first_pixel", 7, 6, [])
    # Five of six are in the cluster of their class.
    assert record["scores"]["accuracy_many_to_one"] == record["scores"]["accuracy_one_to_one"] == 5 / 6
    # Pairs: 4 together in both, 6 in a class, 7 in a cluster, 15 in all.
    assert record["scores"]["ari"] == pytest.approx((4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15))
    assert record["seconds"] >= 0


def test_a_sample_is_drawn_by_the_seed_and_scored_by_its_own_labels(monkeypatch):
    images, labels = blobs()
    images[:, 0, 0, 0] = labels
    method = Method("sampled", Counting(), {}, sample=40)
    monkeypatch.setattr(baselines, "METHODS", {"sampled": method})
    records = [measure("sampled", images, labels, 3, seed) for seed in (0, 1)]
    assert [record["count"] for record in records] == [40, 40]
    assert [record["scores"]["accuracy_one_to_one"] for record in records] == [1.0, 1.0]


def test_records_of_reduced_images_say_how_many_components():
    images, labels = blobs()
    settings = measure("kmeans_pca", images, labels, 3, 0)["settings"]
    reduction = reduce_images(images, 0)
    assert settings["pca"] == {
        "components": reduction.features.shape[1],
        "variance": reduction.variance,
        "limit": "95% of the variance",
    }


def test_warnings_are_kept_with_the_record():
    images, labels = blobs()
    record = measure("spectral", images, labels, 3, 0)
    assert any("not fully connected" in text for text in record["warnings"])


def test_finished_records_are_kept_and_others_are_added(counting, tmp_path):
    path, lines = tmp_path / "small.json", []
    first = run(small_dataset(), path, range(2), report=lines.append)
    assert [seed for *_, seed in counting.fits] == [0, 1]
    assert json.loads(path.read_text()) == first
    assert {"hardware", "versions", "date", "data"} <= first[0].keys()
    assert first[0]["data"]["count"] == 6
    again = run(small_dataset(), path, range(3), report=lines.append)
    assert [seed for *_, seed in counting.fits] == [0, 1, 2]
    assert again[:2] == first
    assert len(lines) == 3
    run(small_dataset(), path, range(1), force=True, report=lines.append)
    assert [seed for *_, seed in counting.fits] == [0, 1, 2, 0]
    assert sorted(record["seed"] for record in read_records(path)) == [0, 1, 2]


def test_an_interrupted_run_has_written_what_it_finished(counting, tmp_path):
    def stop(line):
        raise KeyboardInterrupt

    path = tmp_path / "small.json"
    with pytest.raises(KeyboardInterrupt):
        run(small_dataset(), path, range(3), report=stop)
    assert [record["seed"] for record in read_records(path)] == [0]


def test_records_of_other_data_do_not_count(counting, tmp_path):
    path = tmp_path / "small.json"
    run(small_dataset(), path, range(2), report=lambda line: None)
    other = from_arrays(small_dataset().images[:5], small_dataset().labels[:5], name="small")
    records = run(other, path, range(1), report=lambda line: None)
    assert [seed for *_, seed in counting.fits] == [0, 1, 0]
    assert [(record["seed"], record["count"]) for record in records] == [(0, 5)]


@pytest.mark.parametrize(
    ("text", "message"),
    [("[{", "cannot be read"), ('{"method": 1}', "does not hold records"), ('[{"seed": 0}]', "does not hold records")],
)
def test_damaged_records_are_refused_before_anything_is_fitted(counting, tmp_path, text, message):
    path = tmp_path / "small.json"
    path.write_text(text)
    with pytest.raises(ReproduceError, match=message):
        run(small_dataset(), path, range(1))
    assert counting.fits == []


def test_without_labels_there_is_nothing_to_score(counting, tmp_path):
    with pytest.raises(ReproduceError, match="'small' has no labels"):
        run(small_dataset(labels=None), tmp_path / "small.json", range(1))


def test_the_table_has_mean_and_sample_deviation():
    def record(method, seed, value):
        scores = dict.fromkeys(baselines.SCORES, value)
        return {"method": method, "seed": seed, "count": 12, "scores": scores, "processor_seconds": 2.0}

    records = [record("kmeans_pixels", 0, 0.5), record("kmeans_pixels", 1, 0.7), record("spectral", 0, 0.25)]
    lines = markdown_table(records)
    assert lines[0] == "| method | images | seeds | many to one (Eq. 11) | one to one | NMI | ARI | processor s |"
    assert lines[1].count("|") == lines[0].count("|")
    # The deviation of 0.5 and 0.7 with n - 1 below the line is 0.1414.
    assert lines[2] == "| k-means, pixels | 12 | 2 |" + " 0.600 ± 0.141 |" * 4 + " 2.0 ± 0.0 |"
    assert lines[3] == "| spectral clustering, pixels | 12 | 1 |" + " 0.250 |" * 4 + " 2.0 |"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0"], "--seeds is 0; allowed: 1 or more"),
        (["--resolution=9"], "config.data.resolution is 9; allowed: 8"),
        (["--datasets=digits,letters"], "config.data.name is 'letters'; allowed: 'digits'"),
    ],
)
def test_mistakes_are_one_line(counting, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message) as stopped:
        main([*arguments, f"--out={tmp_path}"])
    assert str(stopped.value).startswith("error: ")
    assert counting.fits == []


def test_the_command_writes_and_prints(counting, tmp_path, capsys):
    main(["--datasets=digits", "--seeds=2", f"--out={tmp_path}"])
    records = read_records(tmp_path / "baselines" / "digits_8.json")
    assert [(record["data"]["name"], record["count"], record["seed"]) for record in records] == [
        ("digits", 1797, 0),
        ("digits", 1797, 1),
    ]
    assert counting.fits == [(1797, 10, 0), (1797, 10, 1)]
    assert "| first pixel | 1797 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "count"), [("digits_8", 1797), ("mnist_16", 70_000)])
def test_the_results_that_are_stored_have_all_methods_for_every_seed(name, count):
    records = read_records(ROOT / "results" / "baselines" / f"{name}.json")
    seeds = {record["seed"] for record in records}
    assert len(seeds) >= 3
    assert sorted(map(baselines._key, records)) == sorted(itertools.product(METHODS, seeds))
    assert {record["data"]["count"] for record in records} == {count}
