"""Labels of a warm start: clusters of a map, of few images and of many; files that don't fit."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.config import default_config
from mpcc_jax.data import warm_labels
from mpcc_jax.data.warm_labels import cluster_map, make_warm_labels, read_warm_labels
from mpcc_jax.errors import ConfigError, DataError


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 20)
    return rng.normal(size=(60, 4)) * 0.1 + truth[:, None], truth


def test_clusters_that_are_apart_are_found(points):
    rows, truth = points
    assert adjusted_rand_score(truth, cluster_map(rows, 3)) == 1.0
    np.testing.assert_array_equal(cluster_map(rows, 3), cluster_map(rows, 3))


def test_of_many_rows_some_are_mapped_and_the_others_follow(points, monkeypatch):
    rows, truth = points
    monkeypatch.setattr(warm_labels, "MOST_MAPPED", 45)
    monkeypatch.setattr(warm_labels, "BLOCK", 25)
    mapped = []
    fit = warm_labels.TSNE.fit_transform
    monkeypatch.setattr(warm_labels.TSNE, "fit_transform", lambda self, x: mapped.append(len(x)) or fit(self, x))
    for seed in (0, 1):
        assert adjusted_rand_score(truth, cluster_map(rows, 3, seed)) == 1.0
    assert mapped == [45, 45]


def test_equal_images_have_no_map():
    with pytest.raises(DataError, match="all images are equal"):
        cluster_map(np.ones((20, 4)), 3)


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
    assert f"allowed: 'tsne', or a .npy file of 5 integers from 0 to 2, one for each image; {found}." in str(
        error.value
    )


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "text.npy").write_text("0\n1\n")
    np.savez(tmp_path / "archive.npz", labels=np.zeros(5, int))
    for name, words in (("nowhere.npy", "No such file"), ("text.npy", "pickle"), ("archive.npz", "an archive")):
        with pytest.raises(ConfigError, match=words):
            read_warm_labels(str(tmp_path / name), 5, 3)
