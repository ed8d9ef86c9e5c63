"""Which images the page shows: a card for each cluster, reconstructions, interpolations, outliers."""

from typing import NamedTuple

import numpy as np

from mpcc_jax.report.charts import THEMES, qualitative_colors
from mpcc_jax.report.images import Picture, make_strip
from mpcc_jax.report.vocabulary import MINUS

COLUMNS = 8
# Pixels of the page that a row of images has.
CARD_ROOM, SMALL_CARD_ROOM, STRIP_ROOM, PAGE_ROOM = 530, 264, 548, 1100
MOST_LARGE_CARDS = 24
MOST_PAIRS, MOST_PATHS, MOST_OUTLIERS = 64, 16, 32


class Card(NamedTuple):
    """A cluster on the page.

    Attributes:
      number: from 0.
      light, dark: its colour in both themes, hexadecimal.
      size: real images in it, as text.
      share: of all real images, as text.
      bar: size over that of the largest cluster, percent.
      majority: name of its most frequent class, or None.
      majority_share: as text, or None.
      strips: pairs (title, `Picture`, None where there is no image).
    """

    number: int
    light: str
    dark: str
    size: str
    share: str
    bar: float
    majority: str | None
    majority_share: str | None
    strips: list[tuple[str, Picture | None]]


def has_small_cards(findings):
    """Whether there are so many clusters that each gets less room.

    Args:
      findings: `Findings`.

    Returns:
      A bool.
    """
    return findings.num_clusters > MOST_LARGE_CARDS


def make_cards(findings):
    """What the page shows of every cluster.

    Args:
      findings: `Findings`.

    Returns:
      K `Card`s.
    """
    count, sizes = findings.num_clusters, np.asarray(findings.cluster_sizes)
    small = has_small_cards(findings)
    room, largest, generated = (SMALL_CARD_ROOM, 32, COLUMNS) if small else (CARD_ROOM, 64, 2 * COLUMNS)
    colors, cards = [qualitative_colors(count, theme) for theme in THEMES], []
    for cluster in range(count):
        kinds = [("Generated", findings.samples[cluster][:generated])]
        for title, rows in (("Most typical, real", findings.typical), ("Least typical, real", findings.atypical)):
            kinds += [] if rows is None else [(title, rows[cluster][:COLUMNS])]
        strips = []
        for title, images in kinds:
            alt = f"Cluster {cluster}: {title.lower()}, {len(images)} images"
            strips.append((title, make_strip(images, COLUMNS, room, alt, largest) if len(images) else None))
        majority, share = (findings.majorities and findings.majorities[cluster]) or (None, None)
        cards.append(
            Card(
                number=cluster,
                light=colors[0][cluster],
                dark=colors[1][cluster],
                size=f"{sizes[cluster]:,}",
                share=f"{sizes[cluster] / max(sizes.sum(), 1):.1%}",
                bar=round(100 * float(sizes[cluster]) / max(float(sizes.max()), 1), 1),
                majority=majority,
                majority_share=None if share is None else f"{share:.0%}",
                strips=strips,
            )
        )
    return cards


def make_pairs(findings):
    """Strips of originals above their reconstructions, so many at most that they can be looked at.

    Args:
      findings: `Findings`.

    Returns:
      `Picture`s.
    """
    if findings.originals is None:
        return []
    strips = []
    for start in range(0, min(len(findings.originals), MOST_PAIRS), COLUMNS):
        rows = [images[start : start + COLUMNS] for images in (findings.originals, findings.reconstructions)]
        alt = f"Real images {start + 1} to {start + len(rows[0])} above their reconstructions"
        strips.append(make_strip(np.concatenate(rows), len(rows[0]), STRIP_ROOM, alt, full_row=COLUMNS))
    return strips


def make_paths(findings):
    """Paths between latents, a row each.

    Args:
      findings: `Findings`.

    Returns:
      A `Picture`, or None.
    """
    if findings.interpolations is None or not len(findings.interpolations):
        return None
    rows = findings.interpolations[:MOST_PATHS]
    alt = f"{len(rows)} paths between two latents, a row each, in {rows.shape[1]} steps"
    return make_strip(rows.reshape(-1, *rows.shape[2:]), rows.shape[1], PAGE_ROOM, alt)


def make_outliers(findings):
    """Images of low density.

    Args:
      findings: `Findings`.

    Returns:
      Pairs of a `Picture` and its log density in nats, as text.
    """
    if findings.outliers is None:
        return []
    shown = list(zip(findings.outliers, findings.outlier_log_probs, strict=True))[:MOST_OUTLIERS]
    densities = [f"{float(density):,.1f}".replace("-", MINUS) for _, density in shown]
    return [
        (make_strip(image[None], 1, 81, f"Outlier, log density {density} nats", 80), density)
        for (image, _), density in zip(shown, densities, strict=True)
    ]
