"""Names and numbers as the page shows them."""

import numpy as np
import pytest

from mpcc_jax.report.vocabulary import explain, readable, show_number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not defined"),
        (70000, "70,000"),
        (np.int64(3), "3"),
        (0.0, "0.0000"),
        (np.float32(0.25), "0.2500"),
        (-0.0421, "\N{MINUS SIGN}0.0421"),
        (12.3456, "12.35"),
        (1234.56, "1,234.6"),
        (0.00012345, "0.0001234"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(value, text):
    assert show_number(value) == text


def test_names_in_words():
    assert readable("bits_per_dim") == "Bits per dim"


def test_scores_are_explained_in_order():
    scores = {"my_score": 2, "cluster_entropy": 1.0, "accuracy_many_to_one": 0.5}
    many, entropy, own = explain(scores, 10, ["nmi", "accuracy_many_to_one", "cluster_entropy", "my_score"])
    assert many.name == "Accuracy, many to one"
    assert "Eq. 11" in many.meaning
    assert "purity" in many.meaning
    assert entropy.meaning == "In nats; 2.303 if all clusters are of one size."
    assert own == ("My score", "2", "")
