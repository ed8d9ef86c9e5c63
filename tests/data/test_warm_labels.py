"""Labels of a warm start: Ward's clusters against scikit-learn, of few images and of many; files that don't fit."""

import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.config import default_config
from mpcc_jax.data import warm_labels
from mpcc_jax.data.warm_labels import make_warm_labels, read_warm_labels, ward
from mpcc_jax.errors import ConfigError


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 20)
    return rng.normal(size=(60, 4)) * 0.1 + truth[:, None], truth


def test_ward_is_scipys(points):
    rows, _ = points
    rows = np.random.default_rng(1).normal(size=rows.shape)
    expected = fcluster(linkage(rows, "ward"), 5, "maxclust")
    assert adjusted_rand_score(expected, ward(rows, 5)) == 1.0


def test_of_many_rows_only_neighbours_are_merged(points, monkeypatch):
    monkeypatch.setattr(warm_labels, "MOST_PAIRED", 10)
    calls = []
    graph = warm_labels.kneighbors_graph
    monkeypatch.setattr(warm_labels, "kneighbors_graph", lambda *args, **more: calls.append(1) or graph(*args, **more))
    rows, truth = points
    with pytest.warns(UserWarning, match="connected components"):
        found = ward(rows, 3)
    assert calls
    assert adjusted_rand_score(truth, found) == 1.0


def test_labels_of_images(points):
    rows, truth = points
    config = default_config()
    config.model.num_clusters = 3
    images = np.uint8(np.clip(rows * 60 + 60, 0, 255)).reshape(-1, 2, 2, 1)
    labels = make_warm_labels(config, images)
    assert labels.dtype == np.int32
    assert adjusted_rand_score(truth, labels) == 1.0


def test_labels_of_a_file(tmp_path):
    config = default_config()
    config.training.warm_labels = str(tmp_path / "labels.npy")
    given = np.arange(20) % 10
    np.save(tmp_path / "labels.npy", given)
    np.testing.assert_array_equal(make_warm_labels(config, np.zeros((20, 2, 2, 1), np.uint8)), given)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (np.zeros(4, int), "it holds int64 of shape (4,)"),
        (np.zeros(5), "it holds float64 of shape (5,)"),
        (np.array([0, 1, 2, 3, 0]), "it holds 0 to 3"),
        (np.array([0, 1, 2, -1, 0]), "it holds -1 to 2"),
    ],
)
def test_a_file_that_does_not_fit_is_an_error(tmp_path, labels, found):
    path = tmp_path / "labels.npy"
    np.save(path, labels)
    with pytest.raises(ConfigError) as error:
        read_warm_labels(str(path), 5, 3)
    assert f"allowed: 'ward', or a .npy file of 5 integers from 0 to 2, one for each image; {found}." in str(
        error.value
    )


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "text.npy").write_text("0\n1\n")
    np.savez(tmp_path / "archive.npz", labels=np.zeros(5, int))
    for name, words in (("nowhere.npy", "No such file"), ("text.npy", "pickle"), ("archive.npz", "an archive")):
        with pytest.raises(ConfigError, match=words):
            read_warm_labels(str(tmp_path / name), 5, 3)
