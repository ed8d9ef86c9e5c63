"""Maps of the latents: where points and ellipses are drawn."""

import numpy as np
import pytest

from mpcc_jax.report import maps
from mpcc_jax.report.charts import DARK, LIGHT
from mpcc_jax.report.latent_maps import Embedding, ellipse_axes, principal_plane, project_gaussians, project_points
from tests.report.examples import all_of_them


@pytest.fixture
def without_tsne(monkeypatch):
    """t-SNE is tested where it is written."""

    def embed(latents, prior_mean, prior_std, limit):
        return Embedding(np.asarray(latents)[:limit, :2], np.arange(len(latents))[:limit], None)

    monkeypatch.setattr(maps, "embed", embed)


def ellipses(axes):
    return [patch for patch in axes.patches if hasattr(patch, "angle")]


def test_labels_add_a_map_of_each_kind(without_tsne):
    charts = maps.map_charts(all_of_them())
    kinds = ["latents_pca_cluster", "latents_pca_class", "latents_tsne_cluster", "latents_tsne_class"]
    assert [chart.name for chart in charts] == kinds
    charts = maps.map_charts(all_of_them(labels=None))
    assert [chart.name for chart in charts] == kinds[::2]


def test_points_and_ellipses_are_those_of_the_plane(without_tsne):
    findings = all_of_them()
    plane = principal_plane(findings.latents)
    axes = maps.map_charts(findings)[0].draw(LIGHT).axes[0]
    drawn = axes.collections[0].get_offsets()
    expected = project_points(findings.latents, plane)
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(expected, axis=0))

    prior = project_gaussians(findings.prior_mean, findings.prior_std, plane)
    half_axes, angles = ellipse_axes(prior.covariances)
    assert len(ellipses(axes)) == 6
    for sigmas, start in ((1, 0), (2, 1)):
        for ellipse, mean, (long, short), angle in zip(
            ellipses(axes)[start::2], prior.means, half_axes, angles, strict=True
        ):
            np.testing.assert_allclose(ellipse.center, mean)
            np.testing.assert_allclose([ellipse.width, ellipse.height], [2 * sigmas * long, 2 * sigmas * short])
            assert ellipse.angle == pytest.approx(angle)
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]


def test_points_keep_the_colours_of_their_clusters(without_tsne):
    findings = all_of_them()
    axes = maps.map_charts(findings)[0].draw(DARK).axes[0]
    points = project_points(findings.latents, principal_plane(findings.latents))
    scatter = axes.collections[0]
    groups = {}
    for place, color in zip(np.asarray(scatter.get_offsets()), scatter.get_facecolors(), strict=True):
        (number,) = np.flatnonzero((points == place).all(axis=1))
        groups.setdefault(findings.clusters[number], set()).add(tuple(color))
    assert sorted(groups) == [0, 1, 2]
    assert [len(colors) for colors in groups.values()] == [1, 1, 1]
    assert len(set.union(*groups.values())) == 3


def test_t_sne_takes_the_groups_of_what_it_chose(without_tsne):
    findings = all_of_them(prior_mean=None, prior_std=None)
    chart = maps.map_charts(findings, limit=8)[2]
    assert "8 real images" in chart.alt
    axes = chart.draw(LIGHT).axes[0]
    assert len(axes.collections[0].get_offsets()) == 8
    assert ellipses(axes) == []


def test_many_classes_have_no_legend(without_tsne):
    findings = all_of_them(num_clusters=30, names=tuple(f"class {number}" for number in range(30)))
    figure = maps.map_charts(findings)[1].draw(LIGHT)
    assert figure.legends == []
    assert len(ellipses(figure.axes[0])) == 30
