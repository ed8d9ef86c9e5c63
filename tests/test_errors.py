"""Text that people see, whatever it is made of."""

import ast

import pytest

from mpcc_jax.errors import explain_memory_error, printable

NAMES = (
    "plain",
    "cat [old]",
    "$5_$10",
    "<b>&amp;</b>",
    "\N{CAT}",
    "a\nb",
    "\x1b[31mred",
    "bad\udcff",
    "\u202eabc",
    "\\d\n",
)


@pytest.mark.parametrize("name", NAMES)
def test_names_are_shown_in_one_line_and_can_be_read_back(name):
    shown = printable(name)
    assert shown.isprintable()
    shown.encode()
    assert (shown if name.isprintable() else ast.literal_eval(f"'{shown}'")) == name


def test_a_device_without_memory_is_named():
    error = RuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8589934592 bytes.")
    assert "Lower --config.training.batch_size" in explain_memory_error(error)
    assert explain_memory_error(RuntimeError("something else")) is None
