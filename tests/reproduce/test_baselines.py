"""Every method finds what it can find and depends on images, K and seed alone; records are kept, not made twice."""

import json
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.data import from_arrays
from mpcc_jax.errors import DataError, WorkdirError
from reproduce import baselines
from reproduce.baselines import METHODS, Embedded, Method, Ward, compress, fit_missing, main, measure, reduce_images


def blobs():
    rng, labels = np.random.default_rng(0), np.arange(90) % 3
    centres = rng.integers(60, 200, (3, 4, 4, 1))
    return np.clip(centres[labels] + rng.normal(0, 6, (90, 4, 4, 1)), 0, 255).astype(np.uint8), labels


@pytest.mark.parametrize("name", METHODS)
def test_separate_groups_are_found_and_the_seed_says_all(name, monkeypatch):
    if issubclass(METHODS[name].estimator, Embedded):
        pytest.importorskip("umap")
    monkeypatch.setattr(baselines, "SHOWN", 0)
    records = [measure(name, *blobs(), 3, seed)["scores"] for seed in (0, 1, 0)]
    assert records[0] == records[2]
    if name != "spectral":
        assert [scores["accuracy_many_to_one"] for scores in records] == [1.0, 1.0, 1.0]


def test_ward_is_scipys():
    rows = np.random.default_rng(1).normal(size=(60, 4))
    expected = fcluster(linkage(rows, "ward"), 5, "maxclust")
    assert adjusted_rand_score(expected, Ward(5, 0).fit_predict(rows)) == 1.0


def test_of_many_rows_ward_merges_only_neighbours(monkeypatch):
    monkeypatch.setattr(baselines, "MOST_PAIRED", 10)
    calls = []
    graph = baselines.kneighbors_graph
    monkeypatch.setattr(baselines, "kneighbors_graph", lambda *args, **more: calls.append(1) or graph(*args, **more))
    images, labels = blobs()
    with pytest.warns(UserWarning, match="connected components"):
        found = Ward(3, 0).fit_predict(images.reshape(90, -1) / 255.0)
    assert calls
    assert adjusted_rand_score(labels, found) == 1.0


def test_latents_of_the_autoencoder_keep_groups_apart():
    images, labels = blobs()
    latents = compress(images.reshape(90, -1) / np.float32(255.0), 2, seed=0, epochs=20)
    assert latents.shape == (90, 2)
    assert adjusted_rand_score(labels, KMeans(3, n_init=3, random_state=0).fit_predict(latents)) == 1.0


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


def test_samples_components_and_warnings_are_in_the_record(monkeypatch):
    images, labels = blobs()
    assert measure("kmeans_pca", images, labels, 3, 0)["settings"]["pca"] == reduce_images(images, 0)[1]
    assert any("not fully connected" in text for text in measure("spectral", images, labels, 3, 0)["warnings"])
    images[:, 0, 0, 0] = labels
    monkeypatch.setattr(baselines, "METHODS", {"sampled": Method("sampled", FirstPixel, {}, sample=40)})
    record = measure("sampled", images, labels, 3, 1)
    assert (record["count"], record["scores"]["accuracy_one_to_one"]) == (40, 1.0), "scored by its own labels"


def test_finished_records_are_kept_and_others_are_added(fits, tmp_path):
    path = tmp_path / "small.json"
    first = fit_missing(small_dataset(), path, range(2))
    assert [seed for *_, seed in fits] == [0, 1]
    assert json.loads(path.read_text()) == first
    assert {"hardware", "versions", "date", "data"} <= first[0].keys()
    assert first[0]["settings"] == {"of": "the image", "num_clusters": 2}
    assert first[0]["scores"]["accuracy_one_to_one"] == 5 / 6, "five of six are in the cluster of their class"
    assert fit_missing(small_dataset(), path, range(3))[:2] == first
    assert [seed for *_, seed in fits] == [0, 1, 2]
    # What is finished is written at once.
    with mock.patch("builtins.print", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        fit_missing(small_dataset(), path, range(5))
    assert [record["seed"] for record in json.loads(path.read_text())] == [0, 1, 2, 3]
    # Records of other data do not count.
    other = from_arrays(small_dataset().images[:5], small_dataset().labels[:5], name="small")
    records = fit_missing(other, path, range(1))
    assert [(record["seed"], record["count"]) for record in records] == [(0, 5)]


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
    assert [(record["data"]["name"], record["seed"]) for record in records] == [("digits", 0), ("digits", 1)]
    assert fits == [(1797, 10, 0), (1797, 10, 1)]
    assert "| first pixel | 1797 | 2 |" in capsys.readouterr().out
