"""Maps of the latent space: real images as points, components of the prior as ellipses."""

import functools
from typing import NamedTuple

import numpy as np

from mpcc_jax.report.charts import TEXT_SIZE, Chart, legend, new_axes, qualitative_colors
from mpcc_jax.report.latent_maps import (
    LARGEST_EMBEDDING,
    Gaussians,
    ellipse_axes,
    embed,
    principal_plane,
    project_gaussians,
    project_points,
)

SIDE = 540
MOST_IN_LEGEND = 20
MOST_WITH_TWO_ELLIPSES = 20


class Map(NamedTuple):
    """A plane with everything that is on it.

    Attributes:
      name, title: of the method.
      points: latents on the plane, [n, 2].
      chosen: which of the latents they are, [n].
      prior: `Gaussians`, or None.
      axis_names: two strings, or None where coordinates mean nothing.
    """

    name: str
    title: str
    points: np.ndarray
    chosen: np.ndarray
    prior: Gaussians | None
    axis_names: list[str] | None


def make_maps(latents, prior_mean=None, prior_std=None, limit=LARGEST_EMBEDDING):
    """Both maps of the latents.

    Args:
      latents: [N, J] that `geometry.can_be_mapped`.
      prior_mean, prior_std: of the prior, [K, J], or None.
      limit: at most so many latents in t-SNE.

    Returns:
      `Map`s of PCA and t-SNE.
    """
    plane = principal_plane(latents)
    prior = None if prior_mean is None else project_gaussians(prior_mean, prior_std, plane)
    axis_names = [f"component {one} ({share:.0%} of the variance)" for one, share in enumerate(plane.explained, 1)]
    points, everything = project_points(latents, plane), np.arange(len(latents))
    return [
        Map("pca", "PCA", points, everything, prior, axis_names),
        Map("tsne", "t-SNE", *embed(latents, prior_mean, prior_std, limit), None),
    ]


def map_charts(findings, limit=LARGEST_EMBEDDING):
    """PCA and t-SNE of the latents, each coloured by cluster and, if there are labels, by class.

    Args:
      findings: `Findings` with latents that `geometry.can_be_mapped`.
      limit: at most so many latents in t-SNE.

    Returns:
      `Chart`s: two, or four with labels.
    """
    count = findings.num_clusters
    groupings = [("cluster", findings.clusters, [str(one) for one in range(count)], True)]
    if findings.labels is not None:
        classes = findings.class_names or [str(one) for one in range(int(np.max(findings.labels)) + 1)]
        groupings.append(("class", findings.labels, classes, False))
    charts = []
    for one in make_maps(findings.latents, findings.prior_mean, findings.prior_std, limit):
        shown = "" if one.prior is None else ", with ellipses for the components of the prior"
        for kind, groups, names, match in groupings:
            alt = f"{one.title} of the latents of {len(one.points)} real images, coloured by {kind}{shown}."
            draw = functools.partial(_draw, one, np.asarray(groups)[one.chosen], names, match)
            charts.append(Chart(f"latents_{one.name}_{kind}", f"{one.title}, by {kind}", alt, draw))
    return charts


def _draw(place, groups, names, match, theme):
    with_legend = len(names) <= MOST_IN_LEGEND
    figure, axes = new_axes(theme, SIDE, SIDE + (60 if with_legend else 0))
    colors = np.asarray(qualitative_colors(len(names), theme))
    # In random order, so that no group covers another.
    order = np.random.default_rng(0).permutation(len(groups))
    size = float(np.clip(16_000 / len(groups), 3, 22))
    axes.scatter(*place.points[order].T, s=size, c=colors[groups[order]], alpha=0.7, linewidths=0, rasterized=True)
    if place.prior is not None:
        # Components have the colours of their clusters; colours of classes mean something else.
        _draw_gaussians(axes, place.prior, colors if match else [theme.muted] * len(place.prior.means), theme)
    axes.set_aspect("equal", adjustable="datalim")
    if place.axis_names is None:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    else:
        axes.set(xlabel=place.axis_names[0], ylabel=place.axis_names[1])
    if with_legend:
        dots = [axes.scatter([], [], s=24, color=color, linewidths=0) for color in colors]
        legend(figure, theme, dots, names, num_columns=_legend_columns(names))
    return figure


def _legend_columns(names):
    """As many as fit into the width of the map."""
    longest = min(max(map(len, names)), 24)
    return min(len(names), max(1, int(SIDE / (7 * longest + 36))))


def _draw_gaussians(axes, prior, colors, theme):
    from matplotlib.patches import Ellipse
    from matplotlib.patheffects import withStroke

    half_axes, angles = ellipse_axes(prior.covariances)
    few = len(prior.means) <= MOST_WITH_TWO_ELLIPSES
    for mean, (long, short), angle, color in zip(prior.means, half_axes, angles, colors, strict=True):
        for sigmas in (1, 2) if few else (2,):
            size = (2 * sigmas * long, 2 * sigmas * short)
            line = {"linewidth": 1.2 if few else 0.6, "linestyle": "-" if sigmas == 1 or not few else (0, (4, 2))}
            axes.add_patch(Ellipse(mean, *size, angle=angle, fill=False, edgecolor=color, **line, zorder=3))
    halo = [withStroke(linewidth=2.5, foreground=theme.background)]
    text = {"ha": "center", "va": "center", "fontsize": TEXT_SIZE if few else 6, "fontweight": "bold"}
    for number, mean in enumerate(prior.means):
        axes.text(*mean, str(number), color=theme.ink, path_effects=halo, zorder=4, **text)
