import dataclasses

import pytest

from mpcc_jax.config import resolve_conventions
from mpcc_jax.variants import VARIANTS
from reproduce.arms import ARMS, SINGLE_DIFFERENCES, set_arm
from reproduce.errors import ReproduceError
from tests.conftest import tiny_config


def conventions(arm):
    config = tiny_config()
    set_arm(config, arm)
    return dataclasses.asdict(resolve_conventions(config))


def test_a_single_difference_is_one_convention_of_the_released_code():
    paper, released = (dataclasses.asdict(VARIANTS[name]) for name in ("paper", "released"))
    assert (conventions("paper"), conventions("released")) == (paper, released)
    assert len(SINGLE_DIFFERENCES) == len(paper) == len(ARMS) - 2
    for arm in SINGLE_DIFFERENCES:
        field = arm.removeprefix("paper+")
        assert conventions(arm) == {**paper, field: released[field]} != paper


def test_another_arm_is_an_error():
    with pytest.raises(ReproduceError, match=r"the arm is 'paper\+nothing'; allowed: paper, released, paper\+upsamp"):
        set_arm(tiny_config(), "paper+nothing")
