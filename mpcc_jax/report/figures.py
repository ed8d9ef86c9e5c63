"""The figures of the page as files: charts as PNG and PDF, sheets of images as PNG."""

import numpy as np

from mpcc_jax.report.charts import LIGHT, save_figure
from mpcc_jax.report.grids import save_cluster_sheet
from mpcc_jax.report.images import save_strip

COLUMNS = 16


def save_figures(findings, charts, folder):
    """Writes every figure of its own, in the light theme.

    Args:
      findings: `Findings`.
      charts: `Chart`s.
      folder: `pathlib.Path` of a directory that exists.
    """
    for chart in charts:
        save_figure(chart.draw(LIGHT), folder / chart.name)
    # From uint8 to [-1, 1], as the sheet takes them.
    samples = np.asarray(findings.samples, np.float32) / 127.5 - 1.0
    save_cluster_sheet(folder / "clusters.png", samples, _descriptions(findings))
    for name in ("typical", "atypical"):
        rows = getattr(findings, name)
        if rows is not None and any(len(row) for row in rows):
            _save_rows(folder / f"{name}.png", rows)
    if findings.originals is not None and len(findings.originals):
        pairs = np.stack([findings.originals, findings.reconstructions], axis=1)
        save_strip(folder / "reconstructions.png", pairs.reshape(-1, *pairs.shape[2:]), COLUMNS)
    if findings.interpolations is not None and len(findings.interpolations):
        paths = findings.interpolations
        save_strip(folder / "interpolations.png", paths.reshape(-1, *paths.shape[2:]), paths.shape[1])
    if findings.outliers is not None and len(findings.outliers):
        save_strip(folder / "outliers.png", findings.outliers, COLUMNS)


def _descriptions(findings):
    lines = []
    for cluster, size in enumerate(findings.cluster_sizes):
        majority = findings.majorities and findings.majorities[cluster]
        lines.append(f"{cluster}: {size:,} images" + (f", {majority[1]:.0%} '{majority[0]}'" if majority else ""))
    return lines


def _save_rows(path, rows):
    """A row per cluster; places that have no image stay empty."""
    longest = max(map(len, rows))
    shape = next(np.shape(row)[1:] for row in rows if len(row))
    filled = np.full((len(rows), longest, *shape), 255, np.uint8)
    for row, images in zip(filled, rows, strict=True):
        row[: len(images)] = images
    save_strip(path, filled.reshape(-1, *shape), longest)
