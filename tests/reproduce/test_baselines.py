"""Every method finds what it can find and depends on images, K and seed alone; records are kept, not made twice."""

import itertools
import json
from typing import ClassVar

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_moons

from mpcc_jax.data import from_arrays
from mpcc_jax.errors import DataError, WorkdirError
from reproduce import baselines
from reproduce.baselines import METHODS, Method, fit_missing, main, measure, reduce_images
from tests.conftest import ROOT


def as_images(points):
    """Points of the plane as images of two pixels."""
    return np.clip(np.round(np.asarray(points) + 127.5), 0, 255).astype(np.uint8).reshape(len(points), 1, 2, 1)


def blobs():
    rng, labels = np.random.default_rng(0), np.arange(90) % 3
    centres = rng.integers(60, 200, (3, 4, 4, 1))
    return np.clip(centres[labels] + rng.normal(0, 6, (90, 4, 4, 1)), 0, 255).astype(np.uint8), labels


def accuracy(name, images, labels, num_clusters, seed=0):
    return measure(name, images, labels, num_clusters, seed)["scores"]["accuracy_many_to_one"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "spectral"])
def test_separate_groups_are_found(name):
    assert [accuracy(name, *blobs(), 3, seed) for seed in (0, 1)] == [1.0, 1.0]


@pytest.mark.parametrize("name", METHODS)
def test_the_seed_says_all(name):
    digits = load_digits()
    images, labels = digits.images[:500, ..., None].astype(np.uint8) * 15, digits.target[:500]
    first, again = (measure(name, images, labels, 4, 3)["scores"] for _ in range(2))
    assert first == again


def test_kmeans_on_the_digits_is_what_the_readme_says():
    digits = load_digits()
    images = np.round(digits.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
    assert accuracy("kmeans_pixels", images, digits.target, 10) == pytest.approx(0.79, abs=0.01)


@pytest.mark.parametrize("strong", [3, 60])
def test_reduction_takes_what_is_fewer_of_50_components_and_95_percent(strong):
    """Independent directions of equal variance, and the rest of the pixels silent."""
    rng, images = np.random.default_rng(0), np.full((400, 8, 8, 1), 128)
    images.reshape(400, 64)[:, :strong] += rng.integers(-100, 101, (400, strong))
    features, facts = reduce_images(images.astype(np.uint8), 0)
    pixels = images.reshape(400, 64) / 255.0
    values = np.linalg.svd(pixels - pixels.mean(axis=0), compute_uv=False) ** 2
    count, limit = {3: (3, "95% of the variance"), 60: (50, "50 components")}[strong]
    share = pytest.approx(values[:count].sum() / values.sum(), rel=1e-4)
    assert facts == {"components": count, "variance": share, "limit": limit}
    np.testing.assert_allclose(features.var(axis=0, ddof=0) * 400, values[:count], rtol=1e-3)
    assert features.dtype == np.float64


def test_full_covariances_find_slanted_groups_and_diagonal_ones_do_not():
    """Two long groups along the diagonal, side by side, which principal components leave slanted."""
    rng, labels = np.random.default_rng(0), np.arange(600) % 2
    along, across = rng.normal(0, 25, 600), rng.normal(0, 2.5, 600)
    images = as_images(np.stack([along + across + 70 * (labels - 0.5), along - across], axis=1))
    assert accuracy("gaussian_mixture_full", images, labels, 2) > 0.99
    assert accuracy("gaussian_mixture_diagonal", images, labels, 2) < 0.95


def test_spectral_clustering_follows_curves_that_kmeans_cuts():
    points, labels = make_moons(800, noise=0.09, random_state=0)
    images = as_images(60 * (points - points.mean(axis=0)))
    assert accuracy("spectral", images, labels, 2) > 0.95
    assert accuracy("kmeans_pixels", images, labels, 2) < 0.8


class FirstPixel:
    """An estimator whose clusters are the first pixel, and that remembers its fits."""

    fits: ClassVar = []

    def __init__(self, num_clusters, random_state, of="the image"):
        assert of == "the image"
        self.num_clusters, self.seed = num_clusters, random_state

    def fit_predict(self, features):
        self.fits.append((len(features), self.num_clusters, self.seed))
        return np.round(255 * features[:, 0]).astype(int) % self.num_clusters


@pytest.fixture
def fits(monkeypatch):
    monkeypatch.setattr(FirstPixel, "fits", [])
    method = Method("first pixel", FirstPixel, {"of": "the image"})
    monkeypatch.setattr(baselines, "METHODS", {"first_pixel": method})
    return FirstPixel.fits


def small_dataset(labels=(0, 0, 0, 1, 1, 1)):
    images = np.zeros((6, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0] = [0, 0, 1, 1, 1, 1]
    images[:, 1, 1, 0] = np.arange(6) * 40
    return from_arrays(images, None if labels is None else np.asarray(labels), name="small")


def test_records_say_what_was_done_and_scored(fits):
    dataset = small_dataset()
    record = measure("first_pixel", dataset.images, dataset.labels, 2, 7)
    assert fits == [(6, 2, 7)]
    assert record["settings"] == {"of": "the image", "num_clusters": 2}
    assert (record["method"], record["seed"], record["count"], record["warnings"]) == ("first_pixel", 7, 6, [])
    # Five of six are in the cluster of their class.
    assert record["scores"]["accuracy_many_to_one"] == record["scores"]["accuracy_one_to_one"] == 5 / 6
    # Pairs: 4 together in both, 6 in a class, 7 in a cluster, 15 in all.
    assert record["scores"]["ari"] == pytest.approx((4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15))


def test_a_sample_is_drawn_by_the_seed_and_scored_by_its_own_labels(monkeypatch):
    images, labels = blobs()
    images[:, 0, 0, 0] = labels
    monkeypatch.setattr(baselines, "METHODS", {"sampled": Method("sampled", FirstPixel, {}, sample=40)})
    record = measure("sampled", images, labels, 3, 1)
    assert (record["count"], record["scores"]["accuracy_one_to_one"]) == (40, 1.0)


def test_components_and_warnings_are_in_the_record():
    images, labels = blobs()
    assert measure("kmeans_pca", images, labels, 3, 0)["settings"]["pca"] == reduce_images(images, 0)[1]
    warnings = measure("spectral", images, labels, 3, 0)["warnings"]
    assert any("not fully connected" in text for text in warnings)


def test_finished_records_are_kept_and_others_are_added(fits, tmp_path):
    path = tmp_path / "small.json"
    first = fit_missing(small_dataset(), path, range(2))
    assert [seed for *_, seed in fits] == [0, 1]
    assert json.loads(path.read_text()) == first
    assert {"hardware", "versions", "date", "data"} <= first[0].keys()
    assert fit_missing(small_dataset(), path, range(3))[:2] == first
    assert [seed for *_, seed in fits] == [0, 1, 2]
    # Records of other data do not count.
    other = from_arrays(small_dataset().images[:5], small_dataset().labels[:5], name="small")
    records = fit_missing(other, path, range(1))
    assert [(record["seed"], record["count"]) for record in records] == [(0, 5)]


def test_an_interrupted_command_has_written_what_it_finished(fits, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.print", stop)
    with pytest.raises(KeyboardInterrupt):
        fit_missing(small_dataset(), tmp_path / "small.json", range(3))
    assert [record["seed"] for record in json.loads((tmp_path / "small.json").read_text())] == [0]


def test_damaged_records_and_missing_labels_are_errors_before_anything_is_fitted(fits, tmp_path):
    path = tmp_path / "small.json"
    with pytest.raises(DataError, match="'small' has no labels"):
        fit_missing(small_dataset(labels=None), path, range(1))
    path.write_text("[{")
    with pytest.raises(WorkdirError, match="cannot be read"):
        fit_missing(small_dataset(), path, range(1))
    assert fits == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0"], "--seeds is 0; allowed: 1 or more"),
        (["--resolution=9"], "config.data.resolution is 9; allowed: 8"),
        (["--datasets=digits,letters"], "config.data.name is 'letters'; allowed: 'digits'"),
    ],
)
def test_mistakes_are_one_line(fits, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=f"^error: {message}"):
        main([*arguments, f"--out={tmp_path}"])
    assert fits == []


def test_the_command_writes_and_prints(fits, tmp_path, capsys):
    main(["--datasets=digits", "--seeds=2", f"--out={tmp_path}"])
    records = json.loads((tmp_path / "baselines" / "digits_8.json").read_text())
    assert [(record["data"]["name"], record["count"], record["seed"]) for record in records] == [
        ("digits", 1797, 0),
        ("digits", 1797, 1),
    ]
    assert fits == [(1797, 10, 0), (1797, 10, 1)]
    assert "| first pixel | 1797 | 2 |" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "count"), [("digits_8", 1797), ("mnist_16", 70_000)])
def test_the_results_that_are_stored_have_all_methods_for_every_seed(name, count):
    records = json.loads((ROOT / "results" / "baselines" / f"{name}.json").read_text())
    seeds = {record["seed"] for record in records}
    assert len(seeds) >= 3
    keys = sorted((record["method"], record["seed"]) for record in records)
    assert keys == sorted(itertools.product(METHODS, seeds))
    assert {record["data"]["count"] for record in records} == {count}
