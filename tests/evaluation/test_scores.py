"""Which images a run is scored on, and that labels add scores and change none."""

import numpy as np
import pytest

from mpcc_jax.evaluation.scores import choose_sample, score
from tests.conftest import SMALL_IMAGES


@pytest.mark.parametrize(
    ("count", "seen", "num_images", "size"),
    [
        (1797, 10, 0, 1797),
        (70000, 400, 0, 2000),
        (70000, 30000, 0, 30000),
        (70000, 10**7, 0, 70000),
        (70000, 400, 70000, 70000),
        (70000, 10**7, 500, 500),
        (300, 10**7, 500, 300),
    ],
)
def test_sample(count, seen, num_images, size):
    chosen = np.arange(count)[choose_sample(count, seen, num_images)]
    assert len(np.unique(chosen)) == len(chosen) == size
    assert np.all(np.diff(chosen) > 0)


def test_scores_with_and_without_labels(algorithm, state):
    labels = np.arange(len(SMALL_IMAGES)) % 2
    with_labels, clusters = score(algorithm.model, state, SMALL_IMAGES, labels, 20)
    without, same = score(algorithm.model, state, SMALL_IMAGES, None, 20)
    np.testing.assert_array_equal(clusters, same)
    np.testing.assert_array_equal(np.bincount(clusters, minlength=3), without["cluster_sizes"])
    assert sum(without["cluster_sizes"]) == without["evaluated_images"] == len(SMALL_IMAGES)
    assert set(with_labels) - set(without) == {"accuracy_many_to_one", "accuracy_one_to_one", "nmi", "ami", "ari"}
    assert {name: with_labels[name] for name in without} == without
