"""Maps of the latent space by PCA and t-SNE: real images as points, components of the prior as ellipses."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from mpcc_jax.report.charts import (
    LONGEST_NAME,
    TEXT_SIZE,
    Chart,
    Theme,
    draw_legend,
    make_axes,
    qualitative_colors,
)
from mpcc_jax.report.findings import Findings

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

LARGEST_EMBEDDING = 1500
DRAWS_IN_ALL = 400
FEWEST_DRAWS = 8
SIDE = 540
MOST_IN_LEGEND = 20
MOST_WITH_TWO_ELLIPSES = 20


class Gaussians(NamedTuple):
    """K Gaussians on a plane: means [K, 2] and covariances [K, 2, 2]."""

    means: np.ndarray
    covariances: np.ndarray


class Map(NamedTuple):
    """Points on a plane [n, 2], which of the latents they are [n], and the prior among them.

    Axes have no names where coordinates mean nothing.
    """

    name: str
    title: str
    points: np.ndarray
    chosen: np.ndarray
    prior: Gaussians | None
    axis_names: list[str] | None


def can_be_mapped(latents: Float[np.ndarray, "N J"]) -> bool:
    """Checks for at least two dimensions and five finite points that are not all the same."""
    count, dimensions = latents.shape
    return bool(count > 4 and dimensions > 1 and np.isfinite(latents).all() and np.ptp(latents, axis=0).max() > 0)


def project_latents(
    latents: Float[np.ndarray, "N J"],
    prior_mean: Float[np.ndarray, "K J"] | None = None,
    prior_std: Float[np.ndarray, "K J"] | None = None,
) -> Map:
    """Maps latents by PCA; components have the marginals of independent dimensions, A diag(sigma^2) A^T in axes A."""
    pca = PCA(n_components=2, svd_solver="full").fit(np.asarray(latents, np.float64))
    prior = None
    if prior_mean is not None:
        axes, variances = pca.components_, np.asarray(prior_std, np.float64) ** 2
        prior = Gaussians(pca.transform(prior_mean), np.einsum("aj,kj,bj->kab", axes, variances, axes))
    shares = enumerate(pca.explained_variance_ratio_, 1)
    axis_names = [f"component {number} ({share:.0%} of the variance)" for number, share in shares]
    return Map("pca", "PCA", pca.transform(latents), np.arange(len(latents)), prior, axis_names)


def embed_latents(
    latents: Float[np.ndarray, "N J"],
    prior_mean: Float[np.ndarray, "K J"] | None = None,
    prior_std: Float[np.ndarray, "K J"] | None = None,
    limit: int = LARGEST_EMBEDDING,
) -> Map:
    """Maps latents by t-SNE together with draws from every component, whose 2-D covariances stand for the components.

    Args:
      limit: at most so many latents; of more, a fixed random choice, as the time grows faster than their number.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(latents))[:limit])
    points = np.asarray(latents, np.float64)[chosen]
    if prior_mean is not None:
        components, dimensions = prior_mean.shape
        num_draws = max(FEWEST_DRAWS, DRAWS_IN_ALL // components)
        noise = rng.normal(size=(components, num_draws, dimensions))
        draws = prior_mean[:, None, :] + prior_std[:, None, :] * noise
        points = np.concatenate([points, draws.reshape(-1, dimensions)])
    perplexity = min(30.0, (len(points) - 1) / 3)
    embedded = TSNE(init="pca", perplexity=perplexity, random_state=0).fit_transform(points).astype(np.float64)
    prior = None
    if prior_mean is not None:
        groups = embedded[len(chosen) :].reshape(components, num_draws, 2)
        prior = Gaussians(groups.mean(axis=1), np.stack([np.cov(group.T) for group in groups]))
    return Map("tsne", "t-SNE", embedded[: len(chosen)], chosen, prior, None)


def ellipse_axes(
    covariances: Float[np.ndarray, "K 2 2"],
) -> tuple[Float[np.ndarray, "K 2"], Float[np.ndarray, " K"]]:
    """Computes the ellipses one standard deviation from the means.

    Returns:
      Half axes, the long one first; and the angle of the long one to the first axis, degrees in [-90, 90].
    """
    variances, directions = np.linalg.eigh(covariances)
    long = directions[:, :, 1]
    long = np.where(long[:, :1] < 0, -long, long)
    half_axes = np.sqrt(np.clip(variances[:, ::-1], 0, None))
    return half_axes, np.degrees(np.arctan2(long[:, 1], long[:, 0]))


def make_map_charts(findings: Findings, limit: int = LARGEST_EMBEDDING) -> list[Chart]:
    """Makes PCA and t-SNE of latents that `can_be_mapped`, coloured by cluster and, if there are labels, by class."""
    groupings = [("cluster", findings.clusters, list(map(str, range(findings.num_clusters))))]
    if findings.labels is not None:
        names = findings.class_names or list(map(str, range(int(np.max(findings.labels)) + 1)))
        groupings.append(("class", findings.labels, names))
    prior = findings.prior_mean, findings.prior_std
    charts = []
    for plane in (project_latents(findings.latents, *prior), embed_latents(findings.latents, *prior, limit)):
        ellipses = "" if plane.prior is None else ", with ellipses for the components of the prior"
        for kind, groups, names in groupings:
            alt = f"{plane.title} of the latents of {len(plane.points)} real images, coloured by {kind}{ellipses}."
            # Components have the colours of their clusters; colours of classes mean something else.
            draw = functools.partial(_draw_map, plane, groups[plane.chosen], names, kind == "cluster")
            charts.append(Chart(f"latents_{plane.name}_{kind}", f"{plane.title}, by {kind}", alt, draw))
    return charts


def _draw_map(
    plane: Map, groups: np.ndarray, names: Sequence[str], color_prior: bool, theme: Theme
) -> "matplotlib.figure.Figure":
    has_legend = len(names) <= MOST_IN_LEGEND
    figure, axes = make_axes(theme, SIDE, SIDE + (60 if has_legend else 0))
    colors = qualitative_colors(len(names), theme)
    # In random order, so that no group covers another.
    order = np.random.default_rng(0).permutation(len(groups))
    style = {"s": float(np.clip(16_000 / len(groups), 3, 22)), "alpha": 0.7, "linewidths": 0, "rasterized": True}
    axes.scatter(*plane.points[order].T, c=np.asarray(colors)[groups[order]], **style)
    if plane.prior is not None:
        _draw_gaussians(axes, plane.prior, colors if color_prior else [theme.muted] * len(plane.prior.means), theme)
    axes.set_aspect("equal", adjustable="datalim")
    if plane.axis_names is None:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(True)
    else:
        axes.set(xlabel=plane.axis_names[0], ylabel=plane.axis_names[1])
    if has_legend:
        dots = [axes.scatter([], [], s=24, color=color, linewidths=0) for color in colors]
        # As many columns as fit into the width of the map.
        name_width = 7 * min(max(map(len, names)), LONGEST_NAME) + 36
        draw_legend(figure, theme, dots, names, num_columns=min(len(names), max(1, SIDE // name_width)))
    return figure


def _draw_gaussians(axes: "matplotlib.axes.Axes", prior: Gaussians, colors: Sequence[str], theme: Theme) -> None:
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
