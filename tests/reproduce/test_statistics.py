import pytest
from scipy import stats

from reproduce.statistics import best_of, spread, welch


def test_the_sd_is_that_of_a_sample():
    assert spread([1.0, 2.0, 6.0]) == pytest.approx((3.0, 7.0**0.5, 3))  # (4 + 1 + 9) / 2
    assert spread([2.5]) == (2.5, None, 1)


def test_the_best_runs_are_chosen_by_their_scores():
    assert best_of([10.0, 11.0, 12.0, 13.0], [0.2, 0.9, 0.1, 0.5], 2) == [11.0, 13.0]
    assert best_of([1.0], [0.5], 3) == [1.0]


def test_the_interval_is_welchs():
    difference = welch([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    squares = (1 / 3, 4 / 3)  # of the standard errors
    freedom = sum(squares) ** 2 / sum(square**2 / 2 for square in squares)
    half = stats.t.ppf(0.975, freedom) * sum(squares) ** 0.5
    assert difference == pytest.approx((-2.0, -2.0 - half, -2.0 + half))


@pytest.mark.parametrize(("values", "others"), [([1.0], [2.0, 3.0]), ([1.0, 2.0], [3.0]), ([1.0, 1.0], [3.0, 3.0])])
def test_there_is_no_interval_without_spread(values, others):
    difference = welch(values, others)
    assert difference.mean == pytest.approx(sum(values) / len(values) - sum(others) / len(others))
    assert (difference.low, difference.high) == (None, None)
