"""Labels of a warm start: clusters of a map, of few images and of many; files that don't fit."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.augmentation import Augmentation, tangents
from mpcc_jax.config import default_config
from mpcc_jax.data import warm_labels
from mpcc_jax.data.warm_labels import cluster_map, make_warm_labels, read_warm_labels, tangent_distances
from mpcc_jax.errors import ConfigError, DataError

OFF = Augmentation()


@pytest.fixture
def images():
    """Three images under noise, twenty times each."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 20)
    patterns = rng.uniform(60, 190, (3, 4, 4, 1))
    return np.uint8(np.clip(patterns[truth] + rng.normal(size=(60, 4, 4, 1)) * 10, 0, 255)), truth


@pytest.mark.parametrize("augmentation", [OFF, Augmentation(0.5, shift=0.05)])
def test_clusters_that_are_apart_are_found(images, augmentation):
    images, truth = images
    found = cluster_map(images, 3, augmentation)
    assert adjusted_rand_score(truth, found) == 1.0
    np.testing.assert_array_equal(found, cluster_map(images, 3, augmentation))


def test_of_many_images_some_are_mapped_and_the_others_follow(images, monkeypatch):
    images, truth = images
    monkeypatch.setattr(warm_labels, "MOST_MAPPED", 45)
    monkeypatch.setattr(warm_labels, "BLOCK", 25)
    mapped = []
    fit = warm_labels.TSNE.fit_transform
    monkeypatch.setattr(warm_labels.TSNE, "fit_transform", lambda self, x: mapped.append(len(x)) or fit(self, x))
    for seed in (0, 1):
        assert adjusted_rand_score(truth, cluster_map(images, 3, OFF, seed)) == 1.0
    assert mapped == [45, 45]


def test_images_of_which_many_are_equal(images):
    """More than ten of the same, which would be nobody's neighbours."""
    images, truth = (np.concatenate([array, array[:1].repeat(40, 0)]) for array in images)
    assert adjusted_rand_score(truth, cluster_map(images, 3, OFF)) == 1.0


def test_the_tangent_distance_is_the_least_over_all_amounts(images):
    images = images[0][::7]
    augmentation = Augmentation(0.5, shift=0.25, rotation=40, scale=0.5, shear=0.5, brightness=0.5)
    rows = warm_labels._pixels(images).reshape(len(images), -1)
    distances = tangent_distances(rows, rows, warm_labels._directions(images, augmentation))
    moves = np.asarray(tangents(augmentation, warm_labels._pixels(images)), np.float64).reshape(len(images), 7, -1)
    for i, row in enumerate(rows):
        for j, other in enumerate(rows):
            amounts = np.linalg.lstsq(moves[j].T, row - other)[0]
            np.testing.assert_allclose(distances[i, j], np.linalg.norm(row - other - amounts @ moves[j]), atol=5e-3)
    plain = tangent_distances(rows, rows, warm_labels._directions(images, OFF))
    np.testing.assert_allclose(plain, np.linalg.norm(rows[:, None] - rows, axis=-1), atol=5e-3)


@pytest.mark.parametrize("values", [[5] * 20, [0, 250]])
def test_images_without_clusters(values):
    count = len(set(values))
    with pytest.raises(DataError, match=f"too few or too alike for 3 clusters: {count} of them differ"):
        cluster_map(np.uint8(values)[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8), 3, OFF)


def test_labels_of_images(images):
    images, truth = images
    config = default_config()
    config.model.num_clusters = 3
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


def test_wards_linkage_is_for_clusters_of_equal_size(images, monkeypatch):
    seen, config = [], default_config()
    monkeypatch.setattr(warm_labels, "cluster_map", lambda *_, linkage: seen.append(linkage) or images[1])
    for config.prior.weights in ("uniform", "em", "gradient", "0.5,0.3,0.2"):
        make_warm_labels(config, images[0])
    assert seen == ["ward", "average", "average", "average"]
