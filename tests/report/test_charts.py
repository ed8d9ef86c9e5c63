"""Charts: colours, names and files; what is on the curves; the confusion matrix, against all permutations."""

import itertools

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report import charts
from mpcc_jax.report.charts import LIGHT, THEMES, make_confusion_chart, make_curve_charts, match_clusters

RNG = np.random.default_rng(0)


def test_figures_are_written_as_png_and_pdf(tmp_path):
    charts.save_figure(charts.make_axes(LIGHT, 200, 100)[0], tmp_path / "line")
    with Image.open(tmp_path / "line.png") as picture:
        assert picture.size == (625, 312)
    assert (tmp_path / "line.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("window", [1, 5])
def test_running_mean_uses_the_values_there_are(window):
    values, reach = RNG.normal(size=20), window // 2
    expected = [values[max(0, place - reach) : place + reach + 1].mean() for place in range(20)]
    np.testing.assert_allclose(charts.smooth(values, window), expected)


def test_panels_show_finite_numbers_of_known_names():
    iterations, values = 10 * np.arange(4), np.asarray([1.0, np.nan, np.inf, 4.0])
    names = ("logits_real", "tea", "prior_sigma_mean", "prior_sigma_min")
    history = dict.fromkeys(names, (iterations, values)) | {"generator_loss": (iterations[:1], values[:1])}
    logits, sigma = make_curve_charts(history)
    assert (logits.name, sigma.name) == ("curves_logits", "curves_prior_sigma")
    assert logits.alt == "Logits of the discriminator over the iterations: real ends at 4."
    assert len(sigma.draw(LIGHT).axes[0].lines) == 2
    (line,) = logits.draw(LIGHT).axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1], [30, 4]])


@pytest.mark.parametrize("num_clusters", [2, 4, 6])
def test_matching_is_the_best_of_all(num_clusters):
    confusion = RNG.integers(0, 50, (4, num_clusters))
    side = max(confusion.shape)
    square = np.zeros((side, side), int)
    square[:4, :num_clusters] = confusion
    best = max(square[list(rows), np.arange(side)].sum() for rows in itertools.permutations(range(side)))
    matched = match_clusters(confusion)
    held = np.flatnonzero(matched >= 0)
    assert len(set(matched[held])) == len(held) == min(confusion.shape)
    assert confusion[matched[held], held].sum() == best


def test_clusters_without_a_class_come_last_in_the_order_of_their_majorities():
    np.testing.assert_array_equal(
        charts.order_clusters(np.asarray([[9, 0, 0, 8], [0, 0, 9, 0], [0, 3, 0, 0]])), [0, 2, 1, 3]
    )
    np.testing.assert_array_equal(charts.order_clusters(np.asarray([[9, 1, 0, 8], [2, 9, 7, 0]])), [0, 1, 3, 2])


@pytest.mark.parametrize("theme", THEMES)
def test_confusion_chart_has_shares_counts_and_names(theme):
    chart = make_confusion_chart(np.asarray([[0, 7], [4, 1]]), ("$a$", "a name that is longer than there is room for"))
    assert "2 classes" in chart.alt
    assert "91.7%" in chart.alt
    axes = chart.draw(theme).axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[1, 0], [0.2, 0.8]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "4", "7"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "0"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$a$", "a name that…is room for"]
