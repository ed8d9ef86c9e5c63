"""What n_init is worth: a group of planted runs, and mistakes of the command line."""

import numpy as np
import pytest

from reproduce.selection import COLUMNS, main, score_group
from tests.evaluation.test_selection import RUNS, TRUTH, K


def test_a_group_is_scored_by_all_the_chosen_the_best_and_the_consensus():
    scores = score_group(RUNS, TRUTH, K)
    assert tuple(scores) == COLUMNS
    assert len(scores["all"]) == len(RUNS)
    assert scores["chosen"] == scores["best"] == [100.0]
    assert scores["consensus"][0] > np.median(scores["all"])


def test_groups_of_another_size_are_refused():
    with pytest.raises(SystemExit, match=r"--size is 3; allowed: a number by which 20 seeds can be divided"):
        main(["extended", "--size=3"])
    with pytest.raises(SystemExit, match=r"--rows has 'nothing'; allowed: digits"):
        main(["extended", "--rows=nothing"])
