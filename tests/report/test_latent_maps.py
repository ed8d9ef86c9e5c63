"""Maps: planes and ellipses against NumPy's definitions, and where points and ellipses are drawn."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from mpcc_jax.report import latent_maps
from mpcc_jax.report.charts import LIGHT, qualitative_colors
from mpcc_jax.report.latent_maps import ellipse_axes, embed_latents, make_map_charts, project_latents
from tests.report.examples import make_all_findings

RNG = np.random.default_rng(0)


@pytest.fixture
def without_tsne(monkeypatch):
    """Takes the first two dimensions instead."""

    def embed(latents, prior_mean, prior_std, limit):
        return latent_maps.Map("tsne", "t-SNE", latents[:limit, :2], np.arange(len(latents))[:limit], None, None)

    monkeypatch.setattr(latent_maps, "embed_latents", embed)


def ellipses(axes):
    return [patch for patch in axes.patches if hasattr(patch, "angle")]


def test_pca_is_that_of_the_largest_eigenvalues_and_projects_the_prior_exactly():
    latents = RNG.normal(size=(50, 4)) * [3.0, 0.2, 2.0, 0.1] + 5.0
    mean, std = RNG.normal(size=(3, 4)), RNG.uniform(0.2, 2.0, (3, 4))
    plane = project_latents(latents, mean, std)
    values, vectors = np.linalg.eigh(np.cov(latents.T))
    axes = vectors[:, ::-1][:, :2]
    axes = axes * np.sign(np.sum((latents - latents.mean(axis=0)) @ axes * plane.points, axis=0))
    np.testing.assert_allclose(plane.points, (latents - latents.mean(axis=0)) @ axes, atol=1e-10)
    np.testing.assert_allclose(plane.prior.means, (mean - latents.mean(axis=0)) @ axes, atol=1e-10)
    np.testing.assert_allclose(plane.prior.covariances, [axes.T @ np.diag(row**2) @ axes for row in std], atol=1e-10)
    assert plane.axis_names[0] == f"component 1 ({values[-1] / values.sum():.0%} of the variance)"
    assert project_latents(latents).prior is None


def test_ellipses_are_one_standard_deviation_away():
    roots = RNG.normal(size=(20, 2, 2))
    covariances = roots @ roots.transpose(0, 2, 1)
    half_axes, angles = ellipse_axes(covariances)
    assert (half_axes[:, 0] >= half_axes[:, 1]).all()
    assert (np.abs(angles) <= 90).all()
    turn = np.linspace(0, 2 * np.pi, 7)
    for covariance, (long, short), angle in zip(covariances, half_axes, np.radians(angles), strict=True):
        rotation = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rim = rotation @ np.stack([long * np.cos(turn), short * np.sin(turn)])
        np.testing.assert_allclose(np.sum(rim * np.linalg.solve(covariance, rim), axis=0), 1.0)
    half_axes, angles = ellipse_axes(np.asarray([np.diag([4.0, 0.0]), np.diag([0.0, 9.0])]))
    np.testing.assert_allclose(half_axes, [[2, 0], [3, 0]])
    np.testing.assert_allclose(np.abs(angles), [0, 90])


def test_embedding_keeps_components_with_their_latents(monkeypatch):
    monkeypatch.setattr(latent_maps, "DRAWS_IN_ALL", 90)
    mean = 30.0 * np.eye(3, 6)
    clusters = np.arange(60) % 3
    plane = embed_latents(mean[clusters] + RNG.normal(size=(60, 6)), mean, np.ones((3, 6)), limit=45)
    assert plane.points.shape == (45, 2)
    assert (np.diff(plane.chosen) > 0).all()
    distances = np.linalg.norm(plane.points[:, None] - plane.prior.means, axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), clusters[plane.chosen])
    assert (np.linalg.eigvalsh(plane.prior.covariances) > 0).all()


def test_which_latents_have_a_map():
    assert latent_maps.can_be_mapped(RNG.normal(size=(5, 2)))
    for latents in (RNG.normal(size=(4, 2)), RNG.normal(size=(9, 1)), np.ones((9, 3)), np.full((9, 3), np.nan)):
        assert not latent_maps.can_be_mapped(latents)


def test_points_and_ellipses_are_those_of_the_plane(without_tsne):
    findings = make_all_findings()
    plane = project_latents(findings.latents, findings.prior_mean, findings.prior_std)
    charts = make_map_charts(findings)
    names = ["latents_pca_cluster", "latents_pca_class", "latents_tsne_cluster", "latents_tsne_class"]
    assert [chart.name for chart in charts] == names
    axes = charts[0].draw(LIGHT).axes[0]
    offsets, colors = axes.collections[0].get_offsets(), axes.collections[0].get_facecolors()
    order = [np.flatnonzero((plane.points == offset).all(axis=1))[0] for offset in np.asarray(offsets)]
    assert sorted(order) == list(range(30))
    expected = np.asarray([to_rgb(color) for color in qualitative_colors(3, LIGHT)])
    np.testing.assert_allclose(colors[:, :3], expected[findings.clusters[order]])

    half_axes, angles = ellipse_axes(plane.prior.covariances)
    assert len(ellipses(axes)) == 6
    for number, ellipse in enumerate(ellipses(axes)):
        component, sigmas = number // 2, number % 2 + 1
        np.testing.assert_allclose(ellipse.center, plane.prior.means[component])
        np.testing.assert_allclose([ellipse.width, ellipse.height], 2 * sigmas * half_axes[component])
        assert ellipse.angle == pytest.approx(angles[component])
    assert [text.get_text() for text in axes.texts] == ["0", "1", "2"]
