"""The confusion matrix of classes and clusters, its columns in the order of their classes."""

import numpy as np

from mpcc_jax.report.charts import TEXT_SIZE, Chart, new_axes, set_ticks

MOST_NUMBERED = 25


def match_clusters(confusion):
    """Matches clusters with classes one to one, as the accuracy of that name does (Hungarian).

    Args:
      confusion: counts, [classes, K].

    Returns:
      The class of every cluster, -1 for those without one, [K].
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(confusion, maximize=True)
    matched = np.full(np.shape(confusion)[1], -1)
    matched[columns] = rows
    return matched


def order_clusters(confusion):
    """The order of columns that puts the matched cells on a falling line.

    Args:
      confusion: counts, [classes, K].

    Returns:
      Clusters in the order of their matched classes; then those without one, in the order of their most frequent
      classes; [K].
    """
    matched = match_clusters(confusion)
    return np.lexsort((np.argmax(confusion, axis=0), np.where(matched < 0, len(confusion), matched)))


def shares_of_classes(confusion):
    """The share of every class that fell into every cluster.

    Args:
      confusion: counts, [classes, K].

    Returns:
      In [0, 1], [classes, K]; rows add up to 1, or are 0 for classes without images.
    """
    counts = np.asarray(confusion, np.float64)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def confusion_chart(confusion, class_names=None):
    """The matrix as a chart: colour is the share of the class, numbers are counts, frames are the matching.

    Args:
      confusion: counts, [classes, K].
      class_names: one per class, or None for their numbers.

    Returns:
      A `Chart`; without numbers for more than 25 classes or clusters.
    """
    confusion = np.asarray(confusion)
    matched = match_clusters(confusion)
    inside = confusion[matched[matched >= 0], np.flatnonzero(matched >= 0)].sum() / max(confusion.sum(), 1)
    num_classes, num_clusters = confusion.shape
    alt = (
        f"Confusion matrix of {num_classes} classes (rows) and {num_clusters} clusters (columns); "
        f"{inside:.1%} of the images are in cells matched one to one."
    )
    names = list(class_names) if class_names else [str(row) for row in range(num_classes)]
    return Chart("confusion", "Classes and clusters", alt, lambda theme: _draw(confusion, names, theme))


def _draw(confusion, names, theme):
    from matplotlib.colors import LinearSegmentedColormap

    num_classes, num_clusters = confusion.shape
    numbered = max(confusion.shape) <= MOST_NUMBERED
    cell = 46 if max(confusion.shape) <= 12 else 34 if numbered else max(11, min(24, 1000 // max(confusion.shape)))
    name_width = 7 * min(max(map(len, names)), 24)
    figure, axes = new_axes(theme, max(cell * num_clusters + name_width + 120, 320), cell * num_classes + 70)
    order, shares = order_clusters(confusion), shares_of_classes(confusion)
    matched = match_clusters(confusion)[order]
    colors = LinearSegmentedColormap.from_list("share", [theme.background, theme.accent])
    image = axes.imshow(shares[:, order], cmap=colors, vmin=0, vmax=1, aspect="equal", interpolation="nearest")
    text = TEXT_SIZE if cell > 20 else 6.0
    set_ticks(axes.yaxis, np.arange(num_classes), names, theme, fontsize=text)
    rotation = 90 if not numbered else 0
    set_ticks(axes.xaxis, np.arange(num_clusters), [str(one) for one in order], theme, fontsize=text, rotation=rotation)
    axes.set_xlabel("cluster")
    axes.set_ylabel("class")
    axes.spines[:].set_visible(True)
    axes.spines[:].set_color(theme.grid)
    _draw_lines(axes, confusion.shape, theme)
    for column in np.flatnonzero(matched >= 0):
        _frame(axes, column, matched[column], theme, width=1.2 if numbered else 0.7)
    if numbered:
        _write_counts(axes, confusion[:, order], shares[:, order], theme, TEXT_SIZE if cell > 40 else 7.0)
    bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 240 / (cell * num_classes)), aspect=14, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_ticks([0, 0.5, 1], labels=["0 %", "50 %", "100 %"])
    bar.ax.tick_params(colors=theme.muted, labelsize=TEXT_SIZE, length=0)
    bar.set_label("share of the class", color=theme.muted, fontsize=TEXT_SIZE)
    return figure


def _draw_lines(axes, shape, theme):
    axes.set_xticks(np.arange(shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=theme.grid, linewidth=0.5)
    axes.tick_params(which="minor", length=0)


def _frame(axes, column, row, theme, width):
    from matplotlib.patches import Rectangle

    square = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=theme.ink, linewidth=width, zorder=3)
    axes.add_patch(square)


def _write_counts(axes, counts, shares, theme, size):
    for row, column in np.argwhere(counts > 0):
        color = theme.background if shares[row, column] > 0.5 else theme.ink
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size, color=color)
