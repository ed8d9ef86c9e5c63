import pytest

from benchmarks.peer.settings import Variant, parse_variant


def test_names_are_joined():
    assert parse_variant("eager") == Variant()
    expected = Variant(compiled=True, rewritten=False, precision="bf16")
    assert parse_variant("compile+plain+bf16") == expected


@pytest.mark.parametrize(
    ("text", "message"), [("eager+fast", "has fast; allowed"), ("tf32+bf16", "two precisions"), ("", "allowed")]
)
def test_variants_that_do_not_exist(text, message):
    with pytest.raises(ValueError, match=message):
        parse_variant(text)
