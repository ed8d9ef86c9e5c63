"""What all figures look like: a light and a dark theme, colours of clusters and classes, axes, and the files."""

import io
from typing import NamedTuple

import numpy as np

CSS_PIXELS_PER_INCH = 96
TEXT_SIZE = 9.0  # points; 1.33 pixels of the page each
LONGEST_NAME = 24


class Theme(NamedTuple):
    """Colours of a figure, the same as the page's.

    Attributes:
      name: "light" or "dark".
      background, ink, muted, grid: of the paper, text, less important text, lines.
      accent: strongest value of a matrix.
    """

    name: str
    background: str
    ink: str
    muted: str
    grid: str
    accent: str


LIGHT = Theme("light", "#ffffff", "#1b1f24", "#5c6570", "#e3e6ea", "#0b4a86")
DARK = Theme("dark", "#14171b", "#e8eaed", "#9ba3ad", "#30363d", "#8cc8ff")
THEMES = (LIGHT, DARK)


class Chart(NamedTuple):
    """A figure that can be drawn in any theme.

    Attributes:
      name: of its files.
      title: what it shows, a few words.
      alt: what can be seen on it, a sentence.
      draw: function of a `Theme` that returns a `matplotlib.figure.Figure`.
    """

    name: str
    title: str
    alt: str
    draw: object


def qualitative_colors(count, theme):
    """Colours to tell clusters or classes apart.

    Args:
      count: how many.
      theme: a `Theme`; in the dark one they are lighter.

    Returns:
      Hexadecimal colours: Petroff's accessible ten; tab20 up to twenty; beyond, turbo with neighbours far apart.
    """
    from matplotlib import colormaps, style
    from matplotlib.colors import to_hex, to_rgb

    if count <= 10:
        colors = style.library["petroff10"]["axes.prop_cycle"].by_key()["color"][:count]
    elif count <= 20:
        colors = colormaps["tab20"].colors[:count]
    else:
        # Steps of the golden ratio fill the range evenly, and put neighbours far apart.
        colors = colormaps["turbo"](0.05 + 0.9 * (np.arange(count) * (5**0.5 - 1) / 2 % 1))[:, :3]
    lift = 0.25 if theme.name == "dark" else 0.0
    return [to_hex((1 - lift) * np.asarray(to_rgb(color)) + lift) for color in colors]


def shorten(name, longest=LONGEST_NAME):
    """A name that fits on a chart.

    Args:
      name: text.
      longest: characters.

    Returns:
      The name; of a longer one, its beginning and its end.
    """
    half = longest // 2
    return name if len(name) <= longest else f"{name[: longest - half - 1].rstrip()}…{name[-half:].lstrip()}"


def new_axes(theme, width, height):
    """A figure with one pair of axes in a theme.

    Args:
      theme: a `Theme`.
      width, height: pixels of the page.

    Returns:
      The figure and its axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    size = (width / CSS_PIXELS_PER_INCH, height / CSS_PIXELS_PER_INCH)
    figure = Figure(figsize=size, layout="constrained", facecolor=theme.background)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=theme.background)
    axes.tick_params(which="both", colors=theme.muted, labelsize=TEXT_SIZE, length=0, pad=4)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[:].set_color(theme.grid)
    axes.xaxis.label.set(color=theme.muted, fontsize=TEXT_SIZE)
    axes.yaxis.label.set(color=theme.muted, fontsize=TEXT_SIZE)
    return figure, axes


def set_ticks(axis, places, names, theme, **text):
    """Names along an axis, as they are: a dollar sign begins no formula.

    Args:
      axis: of matplotlib.
      places: of the names.
      names: strings.
      theme: a `Theme`.
      **text: properties of the text.
    """
    settings = {"fontsize": TEXT_SIZE, "color": theme.ink} | text
    axis.set_ticks(places, [shorten(name) for name in names], parse_math=False, **settings)


def legend(figure, theme, handles, names, num_columns):
    """A legend below the axes.

    Args:
      figure: of matplotlib.
      theme: a `Theme`.
      handles: of matplotlib.
      names: strings.
      num_columns: of the legend.
    """
    # Matplotlib fills column by column; people read row by row.
    order = [place for column in range(num_columns) for place in range(column, len(names), num_columns)]
    made = figure.legend(
        [handles[place] for place in order],
        [shorten(names[place]) for place in order],
        loc="outside lower center",
        ncols=num_columns,
        frameon=False,
        fontsize=TEXT_SIZE,
        labelcolor=theme.ink,
        handlelength=1.2,
        columnspacing=1.4,
        handletextpad=0.5,
    )
    for text in made.get_texts():
        text.set_parse_math(False)


def encode_figure(figure, scale=2):
    """A figure as PNG for the page, with as many colours as can be told apart on it.

    Args:
      figure: of matplotlib.
      scale: pixels of the file for one of the page; 2 is sharp on fine screens.

    Returns:
      Bytes; and width and height in pixels of the page.
    """
    from PIL import Image

    drawn, file = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=scale * CSS_PIXELS_PER_INCH)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(192, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
        return file.getvalue(), round(picture.width / scale), round(picture.height / scale)


def save_figure(figure, path):
    """Writes PATH.png at 300 dpi and PATH.pdf with fonts that can be edited.

    Args:
      figure: of matplotlib.
      path: without suffix.
    """
    from matplotlib import rc_context

    figure.savefig(f"{path}.png", dpi=300)
    with rc_context({"pdf.fonttype": 42}):
        figure.savefig(f"{path}.pdf", metadata={"CreationDate": None})
