"""The matching of clusters and classes, against all permutations; and the chart."""

import itertools

import numpy as np
import pytest

from mpcc_jax.evaluation.scores import one_to_one_accuracy
from mpcc_jax.report.charts import DARK, LIGHT, encode_figure
from mpcc_jax.report.confusion import confusion_chart, match_clusters, order_clusters, shares_of_classes

RNG = np.random.default_rng(0)


def drawn_texts(figure):
    axes = figure.axes[0]
    return [text.get_text() for text in axes.texts], [label.get_text() for label in axes.get_xticklabels()]


def test_matching_is_the_best_of_all():
    confusion = RNG.integers(0, 50, (4, 4))
    best = max(
        sum(confusion[row, column] for column, row in enumerate(rows)) for rows in itertools.permutations(range(4))
    )
    assert confusion[match_clusters(confusion), np.arange(4)].sum() == best
    assert confusion[:, order_clusters(confusion)].trace() == best


@pytest.mark.parametrize("num_clusters", [2, 5, 9])
def test_matching_is_that_of_the_accuracy(num_clusters):
    labels, clusters = RNG.integers(0, 5, 200), RNG.integers(0, num_clusters, 200)
    confusion = np.zeros((5, num_clusters), int)
    np.add.at(confusion, (labels, clusters), 1)
    matched = match_clusters(confusion)
    assert (matched >= 0).sum() == min(5, num_clusters)
    inside = sum(confusion[row, column] for column, row in enumerate(matched) if row >= 0)
    assert inside / 200 == pytest.approx(one_to_one_accuracy(labels, clusters))


def test_clusters_without_a_class_come_last_in_the_order_of_their_majorities():
    confusion = np.asarray([[9, 0, 0, 8], [0, 0, 9, 0], [0, 3, 0, 0]])
    np.testing.assert_array_equal(order_clusters(confusion), [0, 2, 1, 3])
    np.testing.assert_array_equal(match_clusters(confusion), [0, 2, 1, -1])
    confusion = np.asarray([[9, 1, 0, 8], [2, 9, 7, 0]])
    np.testing.assert_array_equal(order_clusters(confusion), [0, 1, 3, 2])


def test_shares_of_classes():
    shares = shares_of_classes([[1, 3, 0], [0, 0, 0], [2, 2, 4]])
    np.testing.assert_allclose(shares, [[0.25, 0.75, 0], [0, 0, 0], [0.25, 0.25, 0.5]])


def test_chart_has_counts_and_names():
    confusion = np.asarray([[0, 7], [5, 1]])
    chart = confusion_chart(confusion, ("$a$", "a name that is longer than there is room for"))
    assert "2 classes" in chart.alt
    assert "92.3%" in chart.alt
    for theme in (LIGHT, DARK):
        figure = chart.draw(theme)
        counts, clusters = drawn_texts(figure)
        assert sorted(counts) == ["1", "5", "7"]
        assert clusters == ["1", "0"]
        names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert names == ["$a$", "a name that…is room for"]


def test_large_chart_has_no_counts():
    figure = confusion_chart(np.eye(60, dtype=int)).draw(LIGHT)
    counts, clusters = drawn_texts(figure)
    assert counts == []
    assert len(clusters) == 60
    _, width, height = encode_figure(figure)
    assert 900 < height < width < 1400
