"""Charts of the report: themes and colours, training curves, the confusion matrix, and their files."""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from PIL import Image
from scipy.ndimage import uniform_filter1d
from scipy.optimize import linear_sum_assignment

from mpcc_jax.errors import printable
from mpcc_jax.workdir import replace_file

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

CSS_PIXELS_PER_INCH = 96
TEXT_SIZE = 9.0  # points; 1.33 pixels of the page each
LONGEST_NAME = 24
CURVES_WIDTH, CURVES_HEIGHT = 370, 250
SMOOTHED_ABOVE = 100
MOST_NUMBERED = 25


class Theme(NamedTuple):
    """Colours of a figure, the same as the page's; the accent is the strongest value of a matrix."""

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
    """A figure that can be drawn in any theme, the name of its files, and a sentence about what can be seen on it."""

    name: str
    title: str
    alt: str
    draw: Callable[[Theme], "matplotlib.figure.Figure"]


class Panel(NamedTuple):
    """Curves that share axes: their labels by name in the log."""

    name: str
    title: str
    curves: dict[str, str]
    log_scale: bool = False


PANELS = (
    Panel(
        "adversarial",
        "Adversarial losses",
        {"discriminator_loss_real": "D, real", "discriminator_loss_fake": "D, generated", "generator_loss": "G"},
    ),
    Panel("logits", "Logits of the discriminator", {"logits_real": "real", "logits_fake": "generated"}),
    Panel("encoder", "Loss of the encoder, nats", {"encoder_nll": "L_q"}),
    Panel(
        "prior_losses",
        "Losses of the prior",
        {"membership_cross_entropy": "L_c, Eq. 8", "prior_negative_entropy": "L_p, Eq. 10"},
    ),
    Panel(
        "prior_sigma",
        "Standard deviations of the prior",
        {"prior_sigma_max": "largest", "prior_sigma_mean": "mean", "prior_sigma_min": "smallest"},
    ),
    Panel(
        "cluster_entropy",
        "Entropy of the cluster sizes, nats",
        {"probe_cluster_entropy": "sample of real images", "cluster_entropy": "all scored images"},
    ),
    Panel(
        "accuracy",
        "Accuracy and mutual information",
        {"accuracy_many_to_one": "many to one", "accuracy_one_to_one": "one to one", "nmi": "NMI"},
    ),
    Panel(
        "confidence",
        "Confidence",
        {
            "probe_mean_confidence": "mean, real images",
            "prior_accuracy": "prior draws recognised",
            "round_trip_accuracy": "round trip of y",
        },
    ),
    Panel(
        "information",
        "What generated images tell of their latents, nats",
        {"information": "of z and y", "information_of_y": "of y alone"},
    ),
    Panel(
        "gradient_norms",
        "Norms of the gradients",
        {
            "gradient_norm_discriminator": "D",
            "gradient_norm_generator": "G",
            "gradient_norm_encoder": "E",
            "gradient_norm_prior": "prior",
        },
        log_scale=True,
    ),
)


def qualitative_colors(count: int, theme: Theme) -> list[str]:
    """Lists hexadecimal colours that tell clusters or classes apart; they are lighter in the dark theme.

    Petroff's accessible ten; tab20 up to twenty; beyond, turbo with neighbours far apart.
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


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Makes a name fit for a chart: what cannot be shown is escaped, and the middle of a long one left out."""
    name, half = printable(name), longest // 2
    return name if len(name) <= longest else f"{name[: longest - half - 1].rstrip()}…{name[-half:].lstrip()}"


def make_axes(theme: Theme, width: int, height: int) -> tuple["matplotlib.figure.Figure", "matplotlib.axes.Axes"]:
    """Makes a figure with one pair of axes in a theme, of a size in pixels of the page."""
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


def set_tick_names(axis: "matplotlib.axis.Axis", names: Sequence[str], theme: Theme, **text: Any) -> None:
    """Writes a name at 0, 1, 2 ... of an axis, as it is: a dollar sign begins no formula."""
    settings = {"fontsize": TEXT_SIZE, "color": theme.ink} | text
    axis.set_ticks(range(len(names)), [shorten(name) for name in names], parse_math=False, **settings)


def draw_legend(
    figure: "matplotlib.figure.Figure", theme: Theme, handles: Sequence, names: Sequence[str], num_columns: int
) -> None:
    """Draws a legend below the axes."""
    # Matplotlib fills column by column; people read row by row.
    order = [place for column in range(num_columns) for place in range(column, len(names), num_columns)]
    legend = figure.legend(
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
    for text in legend.get_texts():
        text.set_parse_math(False)


@contextlib.contextmanager
def boxes_for_missing_glyphs() -> Iterator[None]:
    """Draws boxes, without a warning each, for characters that the font does not have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        yield


@boxes_for_missing_glyphs()
def encode_figure(figure: "matplotlib.figure.Figure", scale: int = 2) -> tuple[bytes, int, int]:
    """Encodes a figure as PNG with a palette, and returns its width and height in pixels of the page.

    Args:
      scale: pixels of the file for one of the page; 2 is sharp on fine screens.
    """
    drawn, file = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=scale * CSS_PIXELS_PER_INCH)
    with Image.open(drawn) as picture:
        picture.convert("RGB").quantize(192, dither=Image.Dither.NONE).save(file, format="png", optimize=True)
        return file.getvalue(), round(picture.width / scale), round(picture.height / scale)


@boxes_for_missing_glyphs()
def save_figure(figure: "matplotlib.figure.Figure", path: Path) -> None:
    """Writes PATH.png at 300 dpi and PATH.pdf with fonts that can be edited."""
    from matplotlib import rc_context

    with replace_file(path.with_name(f"{path.name}.png")) as file:
        figure.savefig(file, format="png", dpi=300)
    with rc_context({"pdf.fonttype": 42}), replace_file(path.with_name(f"{path.name}.pdf")) as file:
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})


def smooth(values: Float[np.ndarray, " T"], window: int) -> Float[np.ndarray, " T"]:
    """Computes the running mean over an odd window; at the ends, of the values there are."""
    filtered = [uniform_filter1d(series, window, mode="constant") for series in (values, np.ones(len(values)))]
    return filtered[0] / filtered[1]


def make_curve_charts(history: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[Chart]:
    """Makes a chart for every one of `PANELS` of which (iterations [T], values [T]) were logged by name."""
    charts = []
    for panel in PANELS:
        curves = {label: _keep_finite(*history[name]) for name, label in panel.curves.items() if name in history}
        curves = {label: curve for label, curve in curves.items() if len(curve[0]) > 1}
        if curves:
            ends = ", ".join(f"{label} ends at {values[-1]:.3g}" for label, (_, values) in curves.items())
            alt = f"{panel.title} over the iterations: {ends}."
            draw = functools.partial(_draw_curves, panel, curves)
            charts.append(Chart(f"curves_{panel.name}", panel.title, alt, draw))
    return charts


def _keep_finite(iterations: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kept = np.isfinite(values)
    return iterations[kept], values[kept].astype(np.float64)


def _draw_curves(panel: Panel, curves: dict, theme: Theme) -> "matplotlib.figure.Figure":
    figure, axes = make_axes(theme, CURVES_WIDTH, CURVES_HEIGHT)
    axes.grid(axis="y", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    lines = []
    for (iterations, values), color in zip(curves.values(), qualitative_colors(len(curves), theme), strict=True):
        is_long = len(values) > SMOOTHED_ABOVE
        if is_long:
            axes.plot(iterations, values, color=color, linewidth=0.6, alpha=0.3)
        shown = smooth(values, 2 * (len(values) // 100) + 1) if is_long else values
        lines += axes.plot(iterations, shown, color=color, linewidth=1.6)
    if panel.log_scale and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlim(0, 1.01 * max(iterations[-1] for iterations, _ in curves.values()))
    if len(curves) > 1:
        draw_legend(figure, theme, lines, list(curves), num_columns=2 if max(map(len, curves)) > 14 else len(curves))
    return figure


def match_clusters(confusion: Integer[np.ndarray, "classes K"]) -> Integer[np.ndarray, " K"]:
    """Finds the class of every cluster, one to one as in the accuracy (Hungarian); -1 for clusters without one."""
    classes, clusters = linear_sum_assignment(confusion, maximize=True)
    matched = np.full(confusion.shape[1], -1)
    matched[clusters] = classes
    return matched


def order_clusters(confusion: Integer[np.ndarray, "classes K"]) -> Integer[np.ndarray, " K"]:
    """Orders clusters by their matched classes; those without one come last, by their most frequent classes."""
    matched = match_clusters(confusion)
    return np.lexsort((np.argmax(confusion, axis=0), np.where(matched < 0, len(confusion), matched)))


def make_confusion_chart(
    confusion: Integer[np.ndarray, "classes K"], class_names: Sequence[str] | None = None
) -> Chart:
    """Makes the chart of the matrix: colours are shares of the class, numbers are counts, frames are the matching.

    More than 25 classes or clusters have no numbers.
    """
    matched = match_clusters(confusion)
    inside = confusion[matched[matched >= 0], np.flatnonzero(matched >= 0)].sum() / max(confusion.sum(), 1)
    num_classes, num_clusters = confusion.shape
    alt = (
        f"Confusion matrix of {num_classes} classes (rows) and {num_clusters} clusters (columns); "
        f"{inside:.1%} of the images are in cells matched one to one."
    )
    names = list(class_names or map(str, range(num_classes)))
    return Chart("confusion", "Classes and clusters", alt, functools.partial(_draw_confusion, confusion, names))


def _draw_confusion(confusion: np.ndarray, names: list[str], theme: Theme) -> "matplotlib.figure.Figure":
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.patches import Rectangle

    num_classes, num_clusters = confusion.shape
    numbered = max(confusion.shape) <= MOST_NUMBERED
    cell = 46 if max(confusion.shape) <= 12 else 34 if numbered else max(11, min(24, 1000 // max(confusion.shape)))
    name_width = 7 * min(max(map(len, names)), LONGEST_NAME)
    figure, axes = make_axes(theme, max(cell * num_clusters + name_width + 120, 320), cell * num_classes + 70)
    order = order_clusters(confusion)
    counts, matched = confusion[:, order], match_clusters(confusion)[order]
    shares = counts / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    colors = LinearSegmentedColormap.from_list("share", [theme.background, theme.accent])
    image = axes.imshow(shares, cmap=colors, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    text_size = TEXT_SIZE if cell > 20 else 6.0
    set_tick_names(axes.yaxis, names, theme, fontsize=text_size)
    set_tick_names(axes.xaxis, list(map(str, order)), theme, fontsize=text_size, rotation=0 if numbered else 90)
    axes.set(xlabel="cluster", ylabel="class")
    axes.spines[:].set_visible(True)
    axes.set_xticks(np.arange(num_clusters + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(num_classes + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.5)
    frame = {"fill": False, "edgecolor": theme.ink, "linewidth": 1.2 if numbered else 0.7, "zorder": 3}
    for column in np.flatnonzero(matched >= 0):
        axes.add_patch(Rectangle((column - 0.5, matched[column] - 0.5), 1, 1, **frame))
    for row, column in np.argwhere(counts > 0) if numbered else ():
        color = theme.background if shares[row, column] > 0.5 else theme.ink
        text = {"ha": "center", "va": "center", "fontsize": TEXT_SIZE if cell > 40 else 7.0, "color": color}
        axes.text(column, row, str(counts[row, column]), **text)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 240 / (cell * num_classes)), aspect=14, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    bar.ax.tick_params(colors=theme.muted, labelsize=TEXT_SIZE, length=0)
    bar.set_label("share of the class", color=theme.muted, fontsize=TEXT_SIZE)
    return figure
