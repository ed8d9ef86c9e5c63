"""Pictures: a sheet of generated images per cluster, and reconstructions beside their originals."""

import numpy as np

from mpcc_jax.report.charts import shorten

LONGEST_LABEL = 48


def tile(images, num_columns, pad=1):
    """Lays images out on a grid, row by row.

    Args:
      images: in [-1, 1], [N, H, W, C] with N a multiple of `num_columns`.
      num_columns: images per row.
      pad: pixels of background between images.

    Returns:
      In [0, 1], [rows * (H + pad) - pad, num_columns * (W + pad) - pad, 3].
    """
    images = np.clip((np.asarray(images, np.float32) + 1.0) / 2.0, 0.0, 1.0)
    images = np.broadcast_to(images, (*images.shape[:3], 3))
    images = np.pad(images, ((0, 0), (0, pad), (0, pad), (0, 0)), constant_values=1.0)
    count, height, width, channels = images.shape
    grid = images.reshape(count // num_columns, num_columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return grid.reshape(-1, num_columns * width, channels)[: -pad or None, : -pad or None]


def _save_grid(path, images, num_columns, row_labels, title, pad=1):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grid = tile(images, num_columns, pad)
    num_rows = len(images) // num_columns
    scale = 0.42
    figure = Figure(figsize=(scale * num_columns + 2.6, scale * num_rows + 0.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(grid, interpolation="nearest")
    pitch = images.shape[1] + pad
    places = [pitch * row + images.shape[1] / 2 - 0.5 for row in range(num_rows)]
    axes.set_yticks(places, [shorten(label, LONGEST_LABEL) for label in row_labels], fontsize=8, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=9)
    figure.savefig(path, bbox_inches="tight", pad_inches=0.1)


def save_contact_sheet(path, images, labels, class_names, name, num_columns=16, max_rows=20):
    """Writes a PNG with real images: a row per class, or a random sample if there are no labels.

    Args:
      path: where to.
      images: uint8, [N, H, W, C].
      labels: integers, [N], or None.
      class_names: one per class, or None.
      name: of the data set.
      num_columns: images per row.
      max_rows: classes that are shown; of more classes, an even choice.
    """
    rng = np.random.default_rng(0)
    if labels is None:
        num_columns = min(num_columns, len(images))
        num_rows = min(max_rows // 2, len(images) // num_columns)
        chosen, rows = np.sort(rng.choice(len(images), num_rows * num_columns, replace=False)), [""] * num_rows
    else:
        classes = np.unique(labels)
        classes = classes[np.unique(np.linspace(0, len(classes) - 1, min(len(classes), max_rows)).round().astype(int))]
        members = [np.flatnonzero(labels == one) for one in classes]
        # A class of fewer images than a row has places repeats them.
        chosen = np.concatenate([np.resize(rng.permutation(own), num_columns) for own in members])
        rows = [class_names[one] if class_names else str(one) for one in classes]
    pixels = images[chosen].astype(np.float32) / 127.5 - 1.0
    _save_grid(path, pixels, num_columns, rows, f"{name}: {len(images)} real images")


def describe_clusters(clusters, num_clusters, labels=None, class_names=None):
    """One line per cluster: its size and, with labels, its most frequent class.

    Args:
      clusters: predicted clusters, integers, [N].
      num_clusters: K.
      labels: true classes, integers, [N], or None.
      class_names: one per class, or None.

    Returns:
      K strings.
    """
    lines = []
    for cluster in range(num_clusters):
        members = clusters == cluster
        line = f"{cluster}: {members.sum()} images"
        if labels is not None and members.any():
            counts = np.bincount(labels[members])
            name = class_names[counts.argmax()] if class_names else str(counts.argmax())
            line += f", {counts.max() / members.sum():.0%} '{name}'"
        lines.append(line)
    return lines


def save_cluster_sheet(path, images, descriptions):
    """Writes a PNG with one row of generated images per cluster, as figure 2 has columns.

    Args:
      path: where to.
      images: in [-1, 1], [K, n, H, W, C].
      descriptions: K strings, put beside the rows.
    """
    num_clusters, num_samples = images.shape[:2]
    flat = images.reshape(num_clusters * num_samples, *images.shape[2:])
    _save_grid(path, flat, num_samples, descriptions, "Generated images, a row per cluster")


def save_reconstructions(path, originals, reconstructions, descriptions):
    """Writes a PNG with originals in odd columns and their reconstructions in even columns, as figure 3.

    Args:
      path: where to.
      originals, reconstructions: in [-1, 1], [rows, n, H, W, C].
      descriptions: one string per row.
    """
    pairs = np.stack([originals, reconstructions], axis=2)
    num_rows, num_pairs = pairs.shape[:2]
    flat = pairs.reshape(num_rows * num_pairs * 2, *pairs.shape[3:])
    _save_grid(path, flat, 2 * num_pairs, descriptions, "Real images (odd columns) and their reconstructions")
