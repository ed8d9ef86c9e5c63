"""Themes: colours that differ, names that fit, files with the colour of the page."""

import io

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report.charts import (
    DARK,
    LIGHT,
    THEMES,
    encode_figure,
    new_axes,
    qualitative_colors,
    save_figure,
    shorten,
)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("count", [1, 10, 11, 20, 21, 100])
def test_every_cluster_has_a_colour_of_its_own(theme, count):
    colors = qualitative_colors(count, theme)
    assert len(set(colors)) == len(colors) == count
    assert all(len(color) == 7 and color[0] == "#" for color in colors)


def test_colours_are_lighter_in_the_dark():
    light, dark = ([int(color[1:3], 16) for color in qualitative_colors(10, theme)] for theme in (LIGHT, DARK))
    assert (np.asarray(dark) >= np.asarray(light)).all()


def test_long_names_lose_their_middle():
    assert shorten("short") == "short"
    assert shorten("Greek/character01", longest=9) == "Gree…er01"
    assert shorten("abc defghi", longest=8) == "abc…fghi"


@pytest.mark.parametrize("theme", THEMES)
def test_encoded_figure_has_the_background_of_the_page(theme):
    figure, axes = new_axes(theme, 200, 100)
    axes.scatter(*np.random.default_rng(0).normal(size=(2, 300)), c=np.arange(300), cmap="turbo", alpha=0.6)
    content, width, height = encode_figure(figure)
    assert (width, height) == (200, 100)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (400, 200)
        corner = picture.convert("RGB").getpixel((0, 0))
    assert "#{:02x}{:02x}{:02x}".format(*corner) == theme.background


def test_figures_are_written_twice(tmp_path):
    figure, axes = new_axes(LIGHT, 200, 100)
    axes.plot([1, 2])
    save_figure(figure, tmp_path / "line")
    with Image.open(tmp_path / "line.png") as picture:
        assert picture.size == (625, 312)
    assert (tmp_path / "line.pdf").read_bytes().startswith(b"%PDF")
