"""Which images the page shows of what."""

import numpy as np
import pytest

from mpcc_jax.report.cards import make_cards, make_outliers, make_pairs, make_paths
from mpcc_jax.report.images import arrange
from tests.report.examples import all_of_them, few, images
from tests.report.test_images import decode


def test_cards_have_sizes_majorities_and_images():
    findings = all_of_them(cluster_sizes=np.asarray([0, 1500, 500]), majorities=[None, ("one", 0.956), ("two", 1.0)])
    first, second, third = make_cards(findings)
    assert (first.size, first.share, first.bar, first.majority) == ("0", "0.0%", 0.0, None)
    assert (second.size, second.share, second.bar) == ("1,500", "75.0%", 100.0)
    assert (second.majority, second.majority_share) == ("one", "96%")
    assert third.bar == pytest.approx(33.3)
    assert [title for title, _ in second.strips] == ["Generated", "Most typical, real", "Least typical, real"]
    np.testing.assert_array_equal(decode(second.strips[0][1].uri)[1], arrange(findings.samples[1], 4))
    np.testing.assert_array_equal(decode(third.strips[1][1].uri)[1], arrange(findings.typical[2], 5))


def test_an_empty_cluster_has_no_real_images():
    nothing = images(0)
    findings = all_of_them(typical=[nothing, *[images(2)] * 2], atypical=[nothing, *[images(2)] * 2])
    strips = make_cards(findings)[0].strips
    assert [picture is None for _, picture in strips] == [False, True, True]


def test_everything_empty_divides_by_nothing():
    (card,) = make_cards(few(num_clusters=1, cluster_sizes=np.zeros(1, int)))
    assert (card.share, card.bar) == ("0.0%", 0.0)
    assert [title for title, _ in card.strips] == ["Generated"]


def test_a_hundred_cards_are_small():
    cards = make_cards(few(num_clusters=100, size=32, channels=3))
    assert len(cards) == 100
    assert cards[0].strips[0][1].width <= 264


def test_pairs_lie_above_each_other():
    findings = all_of_them()
    first, rest = make_pairs(findings)
    expected = arrange(np.concatenate([findings.originals[:8], findings.reconstructions[:8]]), 8)
    np.testing.assert_array_equal(decode(first.uri)[1], expected)
    assert first.width == 7 * 71
    assert rest.alt == "Real images 9 to 9 above their reconstructions"
    assert rest.width == 7 * 8


def test_paths_are_rows():
    findings = all_of_them()
    strip = make_paths(findings)
    np.testing.assert_array_equal(decode(strip.uri)[1], arrange(findings.interpolations.reshape(14, 8, 8, 1), 7))


def test_outliers_have_their_densities():
    pictures = make_outliers(all_of_them())
    assert [density for _, density in pictures] == ["\N{MINUS SIGN}1,234.6", "\N{MINUS SIGN}20.0", "\N{MINUS SIGN}3.0"]
    assert {picture.width for picture, _ in pictures} == {80}


def test_what_is_absent_is_not_shown():
    assert make_pairs(few()) == make_outliers(few()) == []
    assert make_paths(few()) is None
