"""Planes, projections and ellipses against NumPy's definitions."""

import numpy as np
import pytest

from mpcc_jax.report.latent_maps import (
    can_be_mapped,
    ellipse_axes,
    embed,
    fit_gaussians,
    principal_plane,
    project_gaussians,
    project_points,
)

RNG = np.random.default_rng(0)


def test_plane_is_that_of_the_largest_eigenvalues():
    latents = RNG.normal(size=(50, 4)) * [3.0, 0.2, 2.0, 0.1] + 5.0
    plane = principal_plane(latents)
    values, vectors = np.linalg.eigh(np.cov(latents.T))
    np.testing.assert_allclose(np.abs(plane.axes @ vectors[:, ::-1][:, :2]), np.eye(2), atol=1e-10)
    np.testing.assert_allclose(plane.explained, values[::-1][:2] / values.sum())
    np.testing.assert_allclose(project_points(latents, plane), (latents - latents.mean(axis=0)) @ plane.axes.T)


def test_gaussians_are_projected_exactly():
    plane = principal_plane(RNG.normal(size=(30, 5)))
    mean, std = RNG.normal(size=(3, 5)), RNG.uniform(0.2, 2.0, (3, 5))
    projected = project_gaussians(mean, std, plane)
    for k in range(3):
        np.testing.assert_allclose(projected.covariances[k], plane.axes @ np.diag(std[k] ** 2) @ plane.axes.T)
        draws = project_points(RNG.normal(mean[k], std[k], (200_000, 5)), plane)
        np.testing.assert_allclose(projected.means[k], draws.mean(axis=0), atol=0.03)
        np.testing.assert_allclose(projected.covariances[k], np.cov(draws.T), atol=0.06)


def test_fitted_gaussians_are_numpys():
    points = RNG.normal(size=(4, 9, 2))
    fitted = fit_gaussians(points)
    np.testing.assert_allclose(fitted.means, points.mean(axis=1))
    np.testing.assert_allclose(fitted.covariances, [np.cov(group.T) for group in points])


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


def test_a_flat_ellipse_has_no_width():
    half_axes, angles = ellipse_axes(np.asarray([[[4.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 9.0]]]))
    np.testing.assert_allclose(half_axes, [[2, 0], [3, 0]])
    np.testing.assert_allclose(np.abs(angles), [0, 90])


def test_embedding_keeps_components_with_their_latents(monkeypatch):
    monkeypatch.setattr("mpcc_jax.report.latent_maps.DRAWS_IN_ALL", 90)
    mean = 30.0 * np.eye(3, 6)
    clusters = np.arange(60) % 3
    latents = mean[clusters] + RNG.normal(size=(60, 6))
    embedding = embed(latents, mean, np.ones((3, 6)), limit=45)
    assert embedding.points.shape == (45, 2)
    assert (np.diff(embedding.chosen) > 0).all()
    distances = np.linalg.norm(embedding.points[:, None] - embedding.prior.means, axis=-1)
    np.testing.assert_array_equal(distances.argmin(axis=1), clusters[embedding.chosen])
    assert (np.linalg.eigvalsh(embedding.prior.covariances) > 0).all()


def test_embedding_of_latents_alone_is_the_same_every_time():
    latents = RNG.normal(size=(12, 3))
    one, other = embed(latents), embed(latents)
    assert one.prior is None
    np.testing.assert_array_equal(one.chosen, np.arange(12))
    np.testing.assert_array_equal(one.points, other.points)


@pytest.mark.parametrize(
    ("latents", "expected"),
    [
        (RNG.normal(size=(5, 2)), True),
        (RNG.normal(size=(4, 2)), False),
        (RNG.normal(size=(9, 1)), False),
        (np.ones((9, 3)), False),
        (np.full((9, 3), np.nan), False),
    ],
)
def test_which_latents_have_a_map(latents, expected):
    assert can_be_mapped(latents) is expected
