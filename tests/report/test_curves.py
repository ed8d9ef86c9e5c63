"""Training curves: which panels there are, and what is on them."""

import numpy as np
import pytest

from mpcc_jax.report.charts import LIGHT
from mpcc_jax.report.curves import curve_charts, smooth


@pytest.mark.parametrize("window", [1, 3, 5])
def test_running_mean_uses_what_there_is(window):
    values = np.random.default_rng(0).normal(size=20)
    reach = window // 2
    expected = [values[max(0, place - reach) : place + reach + 1].mean() for place in range(20)]
    np.testing.assert_allclose(smooth(values, window), expected)


def test_only_known_names_make_panels():
    iterations = np.arange(5)
    history = {name: (iterations, np.ones(5)) for name in ("logits_real", "tea", "prior_sigma_mean", "prior_sigma_min")}
    charts = curve_charts(history)
    assert [chart.name for chart in charts] == ["curves_logits", "curves_prior_sigma"]
    assert charts[0].alt == "Logits of the discriminator over the iterations: real ends at 1."
    assert len(charts[0].draw(LIGHT).axes[0].lines) == 1
    assert len(charts[1].draw(LIGHT).axes[0].lines) == 2
    assert curve_charts({}) == []


def test_numbers_that_are_not_finite_are_left_out():
    values = np.asarray([1.0, np.nan, np.inf, 4.0])
    (chart,) = curve_charts({"encoder_nll": (10 * np.arange(4), values), "generator_loss": ([5], [1.0])})
    (line,) = chart.draw(LIGHT).axes[0].lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 1], [30, 4]])


def test_long_logs_are_shown_raw_and_smooth():
    values = np.random.default_rng(0).normal(size=500)
    (chart,) = curve_charts({"generator_loss": (np.arange(500), values)})
    raw, mean = chart.draw(LIGHT).axes[0].lines
    np.testing.assert_array_equal(raw.get_ydata(), values)
    assert np.std(mean.get_ydata()) < 0.5 * np.std(values)


def test_gradient_norms_have_a_logarithmic_scale():
    (chart,) = curve_charts({"gradient_norm_generator": ([1, 2, 3], [0.1, 1.0, 10.0])})
    assert chart.draw(LIGHT).axes[0].get_yscale() == "log"
    (chart,) = curve_charts({"gradient_norm_generator": ([1, 2, 3], [0.0, 1.0, 10.0])})
    assert chart.draw(LIGHT).axes[0].get_yscale() == "linear"
