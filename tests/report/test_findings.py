"""Findings say what is wrong with them, by field."""

import numpy as np
import pytest

from mpcc_jax.errors import InputError
from tests.report.examples import all_of_them, few, images


def test_few_and_all_are_accepted():
    assert few(num_clusters=1).num_clusters == 1
    assert all_of_them(channels=3).num_clusters == 3


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cluster_sizes", np.zeros((2, 3))),
        ("data", {}),
        ("scores", {"nmi": "high"}),
        ("generation", {"fid": "low"}),
        ("samples", images(4, 4)),
        ("samples", images(3, 4) / 255.0),
        ("typical", [images(1)] * 2),
        ("atypical", [images(1, channels=2)] * 3),
        ("reconstructions", images(3)),
        ("outlier_log_probs", None),
        ("interpolations", images(4)),
        ("confusion", np.zeros((3, 4), int)),
        ("class_names", ("only", "two")),
        ("majorities", [("one", 1.0)]),
        ("clusters", np.zeros(3, int)),
        ("labels", np.zeros(3, int)),
        ("prior_mean", np.zeros((3, 5))),
        ("prior_std", None),
        ("history", {"loss": (np.arange(3), np.arange(4))}),
    ],
)
def test_what_does_not_fit_is_named(field, value):
    with pytest.raises(InputError, match=rf"Findings\.{field}\b"):
        all_of_them(**{field: value})


def test_images_say_what_they_are_and_should_be():
    with pytest.raises(InputError, match=r"shape \(3, 4, 8, 8, 2\) and type uint8; allowed: uint8, 5 axes .* 1 or 3"):
        few(samples=images(3, 4, channels=2))
