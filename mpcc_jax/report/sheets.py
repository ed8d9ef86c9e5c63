"""Pictures made of images: the sheets of a run, the strips of the page, and the files beside it."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Integer, UInt8
from PIL import Image

from mpcc_jax.data.loader import Examples, to_float
from mpcc_jax.report.charts import LIGHT, Chart, boxes_for_missing_glyphs, save_figure, shorten
from mpcc_jax.report.findings import Findings
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.state import split_seed
from mpcc_jax.workdir import replace_file

LARGEST_EXACT = 32  # pixels; larger images are compressed with loss, which does not show
LONGEST_LABEL = 48
FILE_COLUMNS = 16


class Picture(NamedTuple):
    """An image of the page as a data URI; its size is in pixels of the page, where there is room.

    It is exact if its pixels are enlarged and have to stay squares.
    """

    uri: str
    alt: str
    width: int
    height: int
    exact: bool


def _lay_out(images: np.ndarray, num_columns: int, gap: int, background: float) -> np.ndarray:
    """Lays images out row by row; gaps and empty places have the background."""
    count, height, width, channels = images.shape
    num_rows = math.ceil(count / num_columns)
    cells = np.full((num_rows * num_columns, height + gap, width + gap, channels), background, images.dtype)
    cells[:count, :height, :width] = images
    grid = cells.reshape(num_rows, num_columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    grid = grid.reshape(num_rows * (height + gap), num_columns * (width + gap), channels)
    return grid[: -gap or None, : -gap or None]


def tile(images: Float[np.ndarray, "N H W C"], num_columns: int, pad: int = 1) -> Float[np.ndarray, "h w 3"]:
    """Lays images in [-1, 1] out row by row, in colour on white, in [0, 1]."""
    images = np.clip((np.asarray(images, np.float32) + 1.0) / 2.0, 0.0, 1.0)
    return _lay_out(np.broadcast_to(images, (*images.shape[:3], 3)), num_columns, pad, 1.0)


def arrange(images: UInt8[np.ndarray, "N H W C"], num_columns: int, gap: int = 1) -> UInt8[np.ndarray, "h w C+1"]:
    """Lays images out row by row, with a channel of opacity: gaps and empty places are transparent."""
    opaque = np.concatenate([images, np.full_like(images[..., :1], 255)], axis=-1)
    return np.ascontiguousarray(_lay_out(opaque, num_columns, gap, 0.0))


@boxes_for_missing_glyphs()
def _save_sheet(path: Path, images: np.ndarray, num_columns: int, row_labels: Sequence[str], title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    num_rows, height, gap, scale = len(images) // num_columns, images.shape[1], 1, 0.42
    figure = Figure(figsize=(scale * num_columns + 2.6, scale * num_rows + 0.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(tile(images, num_columns, gap), interpolation="nearest")
    places = [(height + gap) * row + height / 2 - 0.5 for row in range(num_rows)]
    axes.set_yticks(places, [shorten(label, LONGEST_LABEL) for label in row_labels], fontsize=8, parse_math=False)
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(shorten(title, 2 * LONGEST_LABEL), fontsize=9, parse_math=False)
    with replace_file(path) as file:
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.1)


def save_contact_sheet(
    path: Path,
    images: UInt8[np.ndarray, "N H W C"],
    labels: Integer[np.ndarray, " N"] | None,
    class_names: Sequence[str] | None,
    name: str,
    num_columns: int = 16,
    max_rows: int = 20,
) -> None:
    """Writes a PNG with real images: a row per class, or a random sample if there are no labels.

    Args:
      name: of the data set.
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
        members = [np.flatnonzero(labels == label) for label in classes]
        # A class of fewer images than a row has places repeats them.
        chosen = np.concatenate([np.resize(rng.permutation(numbers), num_columns) for numbers in members])
        rows = [class_names[label] if class_names else str(label) for label in classes]
    _save_sheet(path, np.asarray(to_float(images[chosen])), num_columns, rows, f"{name}: {len(images)} real images")


def describe_clusters(
    clusters: Integer[np.ndarray, " N"],
    num_clusters: int,
    labels: Integer[np.ndarray, " N"] | None = None,
    class_names: Sequence[str] | None = None,
) -> list[str]:
    """Describes every cluster in a line: its size and, with labels, its most frequent class."""
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


def save_cluster_sheet(path: Path, images: Float[np.ndarray, "K n H W C"], descriptions: Sequence[str]) -> None:
    """Writes a PNG with a row of generated images in [-1, 1] per cluster, as figure 2 has columns."""
    flat = images.reshape(-1, *images.shape[2:])
    _save_sheet(path, flat, images.shape[1], descriptions, "Generated images, a row per cluster")


def save_reconstructions(
    path: Path,
    originals: Float[np.ndarray, "rows n H W C"],
    reconstructions: Float[np.ndarray, "rows n H W C"],
    descriptions: Sequence[str],
) -> None:
    """Writes a PNG with originals in odd columns and reconstructions in even columns, in [-1, 1], as figure 3."""
    pairs = np.stack([originals, reconstructions], axis=2)
    flat = pairs.reshape(-1, *pairs.shape[3:])
    title = "Real images (odd columns) and their reconstructions"
    _save_sheet(path, flat, 2 * pairs.shape[1], descriptions, title)


def draw_pictures(
    trained: TrainedModel,
    sample: Examples,
    clusters: Integer[np.ndarray, " N"],
    class_names: Sequence[str] | None,
    folder: Path,
) -> None:
    """Writes the cluster sheet and the reconstructions of a run; clusters are those of the sample's images."""
    num_clusters, count = trained.num_clusters, trained.config.evaluation.samples_per_cluster
    _, key = jax.random.split(split_seed(trained.seed).evaluation)
    sheet = trained.generate(key, num_clusters * count, cluster=np.repeat(np.arange(num_clusters), count))
    descriptions = describe_clusters(clusters, num_clusters, sample.labels, class_names)
    save_cluster_sheet(folder / "clusters.png", sheet.reshape(num_clusters, count, *sheet.shape[1:]), descriptions)

    num_pairs = max(count // 2, 1)
    occupied = np.unique(clusters)
    # A cluster of fewer images than a row has places repeats them.
    chosen = np.concatenate([np.resize(np.flatnonzero(clusters == cluster), num_pairs) for cluster in occupied])
    originals = sample.images[chosen]
    shape = (len(occupied), num_pairs, *trained.image_shape)
    save_reconstructions(
        folder / "reconstructions.png",
        np.asarray(to_float(originals)).reshape(shape),
        trained.reconstruct(originals).reshape(shape),
        [f"cluster {cluster}" for cluster in occupied],
    )


def shrink(images: UInt8[np.ndarray, "N H W C"], largest: int) -> UInt8[np.ndarray, "N h w C"]:
    """Makes images smaller whose height or width is more pixels than the page shows."""
    count, height, width, channels = images.shape
    if max(height, width) <= largest or not count:
        return images
    size = tuple(max(1, round(side * largest / max(height, width))) for side in (width, height))
    pictures = [Image.fromarray(image[..., 0] if channels == 1 else image) for image in images]
    resized = [np.asarray(picture.resize(size, Image.Resampling.LANCZOS)) for picture in pictures]
    return np.stack(resized).reshape(count, size[1], size[0], channels)


def to_uri(content: bytes, kind: str) -> str:
    """Encodes the bytes of a picture as a data URI; the kind is "png" or "webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def make_strip(
    images: UInt8[np.ndarray, "N H W C"],
    num_columns: int,
    room: int,
    alt: str,
    largest: int = 64,
    full_row: int | None = None,
) -> Picture:
    """Makes a grid of images as large as there is room for, each pixel a whole number of the page's.

    Args:
      room: pixels of the page, for the width of a full row.
      largest: pixels of the page that an image is enlarged to at most.
      full_row: images of a full row, where those of other strips are longer than `num_columns`.
    """
    full_row = full_row or num_columns
    images = shrink(images, max(1, min(largest, room // full_row - 1)))
    side = max(images.shape[1:3])
    factor = max(1, min(room // (full_row * (images.shape[2] + 1) - 1), largest // side))
    file, picture = io.BytesIO(), Image.fromarray(arrange(images, min(num_columns, len(images))))
    if side <= LARGEST_EXACT:
        picture.save(file, format="png", optimize=True)
        uri = to_uri(file.getvalue(), "png")
    else:
        picture.convert("RGBA").save(file, format="webp", quality=88, method=4)
        uri = to_uri(file.getvalue(), "webp")
    return Picture(uri, alt, picture.width * factor, picture.height * factor, factor > 1)


def save_strip(path: Path, images: UInt8[np.ndarray, "N H W C"], num_columns: int, side: int = 96) -> None:
    """Writes images on a grid as a PNG, enlarged by a whole factor to at least `side` pixels."""
    factor = math.ceil(side / max(images.shape[1:3]))
    enlarged = images.repeat(factor, axis=1).repeat(factor, axis=2)
    with replace_file(path) as file:
        Image.fromarray(arrange(enlarged, num_columns, gap=max(2, side // 16))).save(file, format="png", optimize=True)


def save_figures(findings: Findings, charts: Iterable[Chart], folder: Path) -> None:
    """Writes every figure of the page as a file, in the light theme: charts as PNG and PDF, images as PNG."""
    for chart in charts:
        save_figure(chart.draw(LIGHT), folder / chart.name)
    lines = []
    for cluster, size in enumerate(findings.cluster_sizes):
        majority = findings.majorities and findings.majorities[cluster]
        lines.append(f"{cluster}: {size:,} images" + (f", {majority[1]:.0%} '{majority[0]}'" if majority else ""))
    save_cluster_sheet(folder / "clusters.png", np.asarray(to_float(findings.samples)), lines)
    for name, rows in (("typical", findings.typical), ("atypical", findings.atypical)):
        if rows is not None and any(len(row) for row in rows):
            # Places that have no image stay white.
            filled = np.full((len(rows), max(map(len, rows)), *rows[0].shape[1:]), 255, np.uint8)
            for row, images in zip(filled, rows, strict=True):
                row[: len(images)] = images
            save_strip(folder / f"{name}.png", filled.reshape(-1, *filled.shape[2:]), filled.shape[1])
    if findings.originals is not None and len(findings.originals):
        pairs = np.stack([findings.originals, findings.reconstructions], axis=1)
        save_strip(folder / "reconstructions.png", pairs.reshape(-1, *pairs.shape[2:]), FILE_COLUMNS)
    if findings.interpolations is not None and len(findings.interpolations):
        paths = findings.interpolations
        save_strip(folder / "interpolations.png", paths.reshape(-1, *paths.shape[2:]), paths.shape[1])
    if findings.outliers is not None and len(findings.outliers):
        save_strip(folder / "outliers.png", findings.outliers, FILE_COLUMNS)
