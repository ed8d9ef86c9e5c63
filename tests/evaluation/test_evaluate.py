"""Scores of a trained model against plain sums; and a second model of the same configuration compiles nothing."""

import contextlib
import json

import jax
import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from mpcc_jax.data import from_arrays
from mpcc_jax.errors import InputError
from mpcc_jax.evaluation.evaluate import cycle_scores, describe, evaluate, evaluate_clustering, match_weights
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.state import build_algorithm
from tests.conftest import SMALL_IMAGES
from tests.trained import LABELS, tiny_dataset, tiny_state, tiny_trained, trained_config


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(tiny_trained(), tiny_dataset())


def test_scores(evaluation):
    trained, scores, confusion = tiny_trained(), evaluation.scores, np.asarray(evaluation.scores["confusion"])
    floats = SMALL_IMAGES / 127.5 - 1.0
    expected = np.mean((trained.reconstruct(SMALL_IMAGES) - floats) ** 2)
    np.testing.assert_allclose(scores["reconstruction_mse"], expected, rtol=1e-5)
    np.testing.assert_array_equal(evaluation.clusters, trained.predict(SMALL_IMAGES))
    np.testing.assert_array_equal(confusion.sum(axis=0), scores["cluster_sizes"])
    np.testing.assert_array_equal(confusion.sum(axis=1), np.bincount(LABELS))
    assert scores["accuracy_many_to_one"] == confusion.max(axis=0).sum() / len(LABELS)
    assert scores["class_names"] == ["even", "odd"]
    for majority, column in zip(scores["majorities"], confusion.T, strict=True):
        expected = [["even", "odd"][column.argmax()], column.max() / column.sum()] if column.sum() else None
        assert majority == expected
    assert json.loads(json.dumps(scores)) == scores


def test_cycle_scores_are_sums_over_draws():
    trained = tiny_trained()
    scores, confusion = cycle_scores(trained, 0, count=30)
    z, y = trained.draw(0, 30)
    again = trained.decode(z, y)
    squares = np.sum((trained.transform(again) - z) ** 2, axis=-1)
    np.testing.assert_allclose(scores["latent_mse"], np.mean(squares), rtol=1e-5)
    assert scores["generated_cluster_accuracy"] == np.mean(trained.predict(again) == y)
    np.testing.assert_array_equal(confusion, confusion_matrix(y, trained.predict(again), labels=range(3)))


def test_weights_are_matched_through_the_mistakes_of_the_encoder():
    """Shares of 70, 20 and 10 % under an encoder that takes a third of the first for the second."""
    mistakes = 1000 * np.array([[20, 10, 0], [0, 30, 0], [3, 3, 24]])
    np.testing.assert_allclose([0.7, 0.2, 0.1] @ mistakes * 0.03, [429, 399, 72])
    np.testing.assert_allclose(match_weights(mistakes, [429, 399, 72]), [0.7, 0.2, 0.1], atol=1e-3)
    np.testing.assert_allclose(match_weights(np.diag([5, 0, 5]), [1, 2, 1]), [0.25, 0.5, 0.25], rtol=1e-6)
    unexplained = match_weights(np.array([[9, 0], [9, 0]]), [0, 9])
    np.testing.assert_allclose(unexplained, [0, 1], atol=1e-6)


def test_without_labels_and_on_a_part(evaluation):
    part = evaluate(tiny_trained(), tiny_dataset(labels=None), chosen=np.arange(3, 9))
    assert part.scores["confusion"] is part.scores["class_names"] is part.scores["majorities"] is None
    assert part.scores["evaluated_images"] == 6
    np.testing.assert_array_equal(part.clusters, evaluation.clusters[3:9])
    labelled = {"accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ami", "ari"}
    assert evaluation.scores.keys() - part.scores.keys() == labelled


@pytest.mark.parametrize("labels", [LABELS, None])
def test_clustering_alone_has_the_same_scores(evaluation, labels):
    trained = tiny_trained()
    scores, clusters = evaluate_clustering(trained.model, trained.weights, SMALL_IMAGES, labels, 8)
    np.testing.assert_array_equal(clusters, evaluation.clusters)
    assert scores == {name: evaluation.scores[name] for name in scores}
    assert ("nmi" in scores) == (labels is not None)


def test_images_of_another_size_are_refused():
    with pytest.raises(InputError, match=r"images are \(16, 16, 1\); allowed: \(8, 8, 1\)"):
        evaluate(tiny_trained(), from_arrays(SMALL_IMAGES, resolution=16))


def test_description_holds_what_the_caller_adds():
    description = describe(tiny_trained(iteration=4, statistics="batch"), machine={"device": "a processor"})
    assert (description["iteration"], description["seed"], description["variant"]) == (4, 0, "paper")
    assert description["generator"]["statistics"] == "batch"
    assert description["machine"] == {"device": "a processor"}


@contextlib.contextmanager
def compilations():
    """Yields a list that gets an entry for every program that is compiled."""
    compiled = []

    def listen(event, *_, **__):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_second_model_of_the_same_configuration_compiles_nothing(evaluation):
    """Parameters are arguments of the programs, standing statistics included, and equal settings share them."""
    config = trained_config()
    weights = jax.tree.map(lambda x: 0.9 * x, (tiny_state().params, tiny_state().buffers, tiny_state().ema))
    weights = tiny_state().replace(params=weights[0], buffers=weights[1], ema=weights[2])
    with compilations() as compiled:
        model = build_algorithm(config, 1).model
        second = evaluate(TrainedModel(config, model, weights, batch_size=8), tiny_dataset())
    assert compiled == []
    assert second.scores["reconstruction_mse"] != evaluation.scores["reconstruction_mse"]
    with compilations() as compiled:
        jax.jit(lambda x: x * len(compiled))(1.0)
    assert compiled, "the counter counts"
