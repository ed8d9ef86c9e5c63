"""What is measured on a trained model, against plain sums; and findings that fit the report."""

import json

import numpy as np
import pytest

from mpcc_jax.data import from_arrays
from mpcc_jax.errors import InputError
from mpcc_jax.evaluation.evaluate import assess, cycle_scores, find_extremes, gather_findings, read_history
from tests.conftest import SMALL_IMAGES
from tests.trained import LABELS, tiny_dataset, tiny_trained


@pytest.fixture(scope="module")
def assessment():
    return assess(tiny_trained(), tiny_dataset())


def test_scores(assessment):
    trained, scores = tiny_trained(), assessment.scores
    floats = SMALL_IMAGES / 127.5 - 1.0
    expected = np.mean((trained.reconstruct(SMALL_IMAGES) - floats) ** 2)
    np.testing.assert_allclose(scores["reconstruction_mse"], expected, rtol=1e-5)
    np.testing.assert_array_equal(assessment.clusters, trained.predict(SMALL_IMAGES))
    np.testing.assert_array_equal(assessment.confusion.sum(axis=0), scores["cluster_sizes"])
    np.testing.assert_array_equal(assessment.confusion.sum(axis=1), np.bincount(LABELS))
    assert scores["accuracy_many_to_one"] == assessment.confusion.max(axis=0).sum() / len(LABELS)


def test_cycle_scores_are_sums_over_draws():
    trained = tiny_trained()
    scores = cycle_scores(trained, 0, count=30)
    z, y = trained.draw(0, 30)
    again = trained.decode(z, y)
    np.testing.assert_allclose(
        scores["latent_mse"], np.mean(np.sum((trained.transform(again) - z) ** 2, axis=-1)), rtol=1e-5
    )
    assert scores["generated_cluster_accuracy"] == np.mean(trained.predict(again) == y)


def test_without_labels_and_on_a_part():
    assessment = assess(tiny_trained(), tiny_dataset(labels=None), chosen=np.arange(3, 9))
    assert assessment.confusion is None
    assert assessment.class_names is None
    assert assessment.describe_majorities() is None
    assert assessment.scores["evaluated_images"] == 6
    np.testing.assert_array_equal(assessment.clusters, tiny_trained().predict(SMALL_IMAGES[3:9]))


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"images are \(16, 16, 1\); allowed: \(8, 8, 1\)"):
        assess(tiny_trained(), from_arrays(SMALL_IMAGES, resolution=16))


def test_extremes():
    typical, atypical = find_extremes(np.asarray([5.0, 1.0, 3.0, 2.0, 4.0, 0.0]), np.asarray([0, 0, 0, 0, 0, 2]), 3, 2)
    assert [own.tolist() for own in typical] == [[0, 4], [], [5]]
    assert [own.tolist() for own in atypical] == [[1, 3], [], []]


def test_history_survives_half_a_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    assert read_history(path) == {}
    lines = [{"iteration": i, "seed": seed, "loss": i + seed, "sizes": [1]} for i in (2, 4) for seed in (0, 1)]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"iteration": 6, "lo')
    history = read_history(path, seed=1)
    assert set(history) == {"loss"}
    np.testing.assert_array_equal(history["loss"], [[2, 4], [3, 5]])


def test_findings(assessment):
    findings = gather_findings(assessment, title="small")
    assert findings.samples.shape == (3, 8, 8, 8, 1)
    assert findings.interpolations.shape == (6, 9, 8, 8, 1)
    sizes = assessment.scores["cluster_sizes"]
    assert [len(row) for row in findings.typical] == [min(8, (size + 1) // 2) for size in sizes]
    lowest = np.argsort(tiny_trained().log_prob(SMALL_IMAGES))
    np.testing.assert_array_equal(findings.outliers, SMALL_IMAGES[lowest])
    assert np.all(np.diff(findings.outlier_log_probs) >= 0)
