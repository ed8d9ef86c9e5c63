"""The pictures: where every image lands, and what is written beside it."""

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report import grids
from mpcc_jax.report.grids import describe_clusters, save_cluster_sheet, save_contact_sheet, save_reconstructions, tile


def test_tile_puts_images_row_by_row():
    images = np.linspace(-1, 1, 6)[:, None, None, None] * np.ones((6, 2, 2, 1))
    grid = tile(images, num_columns=3, pad=1)
    assert grid.shape == (5, 8, 3)
    np.testing.assert_allclose(grid[0, ::3, 0], [0.0, 0.2, 0.4])
    np.testing.assert_allclose(grid[3, ::3, 0], [0.6, 0.8, 1.0])
    np.testing.assert_array_equal(grid[2], 1.0)


def test_tile_clips_and_keeps_colour():
    images = np.stack([np.full((2, 2, 3), [2.0, 0.0, -2.0])])
    np.testing.assert_allclose(tile(images, 1)[0, 0], [1.0, 0.5, 0.0])


def test_describe_clusters():
    clusters, labels = np.asarray([0, 0, 0, 2]), np.asarray([1, 1, 0, 0])
    assert describe_clusters(clusters, 3, labels, ("cat", "dog")) == [
        "0: 3 images, 67% 'dog'",
        "1: 0 images",
        "2: 1 images, 100% 'cat'",
    ]
    assert describe_clusters(clusters, 1) == ["0: 3 images"]


def test_pictures_are_written(tmp_path):
    images = np.random.default_rng(0).uniform(-1, 1, (3, 4, 8, 8, 1))
    save_cluster_sheet(tmp_path / "clusters.png", images, ["a", "b", "c"])
    save_reconstructions(tmp_path / "reconstructions.png", images, -images, ["a", "b", "c"])
    sizes = {}
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    assert set(sizes) == {"clusters.png", "reconstructions.png"}
    assert all(width > 200 and height > 100 for width, height in sizes.values())
    assert sizes["reconstructions.png"][0] > sizes["clusters.png"][0]


@pytest.mark.parametrize("labels", [None, np.arange(7) % 2, np.arange(7) % 7])
def test_contact_sheet_shows_any_number_of_images(tmp_path, monkeypatch, labels):
    drawn = []
    monkeypatch.setattr(grids, "_save_grid", lambda path, *grid: drawn.append(grid))
    images = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3)).astype(np.uint8)
    save_contact_sheet(tmp_path / "data.png", images, labels, None, "mine", num_columns=4, max_rows=3)
    ((shown, num_columns, rows, title),) = drawn
    assert num_columns == 4
    assert title == "mine: 7 real images"
    assert len(shown) == len(rows) * num_columns
    np.testing.assert_allclose(shown.min(), images.min() / 127.5 - 1, atol=0.2)
    numbers = [int(np.flatnonzero((images == np.round((one + 1) * 127.5)).all(axis=(1, 2, 3)))[0]) for one in shown]
    if labels is None:
        assert len(set(numbers)) == 4
    else:
        expected = {"0": 0, "1": 1} if labels.max() == 1 else {"0": 0, "3": 3, "6": 6}
        assert rows == list(expected)
        np.testing.assert_array_equal(
            labels[numbers].reshape(-1, 4), np.asarray(list(expected.values()))[:, None].repeat(4, 1)
        )
