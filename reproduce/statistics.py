"""Means, spreads and differences over seeds."""

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Spread(NamedTuple):
    """A figure over runs.

    Attributes:
      mean: over runs.
      sd: standard deviation of the sample (n - 1 below the line); None of one run.
      n: runs.
    """

    mean: float
    sd: float | None
    n: int


def spread(values):
    """Mean and standard deviation of a sample.

    Args:
      values: numbers, [n], at least one.

    Returns:
      A `Spread`.
    """
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Spread(float(np.mean(values)), sd, len(values))


def best_of(values, scores, count):
    """The values of the runs with the highest scores.

    Args:
      values: numbers, [n].
      scores: that the runs are chosen by, [n].
      count: how many.

    Returns:
      Values, [count].
    """
    order = np.argsort(-np.asarray(scores), kind="stable")[:count]
    return np.asarray(values)[order].tolist()


class Difference(NamedTuple):
    """A difference of two means.

    Attributes:
      mean: of the first less that of the second.
      low, high: its 95 % interval by Welch's t (unequal variances, runs not paired); None where a side has one run, or
        no run differs from the others.
    """

    mean: float
    low: float | None
    high: float | None


def welch(values, others):
    """How far two samples of runs are apart.

    Args:
      values: numbers, [n].
      others: numbers, [m].

    Returns:
      A `Difference`.
    """
    from scipy.stats import ttest_ind

    mean = float(np.mean(values) - np.mean(others))
    if min(len(values), len(others)) < 2 or (np.ptp(values) == 0 and np.ptp(others) == 0):
        return Difference(mean, None, None)
    interval = ttest_ind(values, others, equal_var=False).confidence_interval(CONFIDENCE)
    return Difference(mean, float(interval.low), float(interval.high))
