"""Sheets and strips: every pixel where it should be, in the file too, and what is written beside it."""

import base64
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data.loader import Examples
from mpcc_jax.report import sheets as pictures
from mpcc_jax.report.sheets import arrange, describe_clusters, make_strip, tile
from mpcc_jax.trained_model import TrainedModel
from tests.report.examples import images


def decode(uri):
    head, content = uri.split(",")
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return head, np.asarray(picture)


@pytest.fixture
def sheets(monkeypatch):
    """Sheets by name instead of files: images, columns, labels of rows, title."""
    drawn = {}
    monkeypatch.setattr(pictures, "_save_sheet", lambda path, *sheet: drawn.update({path.name: sheet}))
    return drawn


def test_tile_puts_images_row_by_row_and_clips():
    levels = np.asarray([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0])[:, None, None, None]
    grid = tile(levels * np.ones((6, 2, 2, 1)), num_columns=3, pad=1)
    assert grid.shape == (5, 8, 3)
    np.testing.assert_allclose(grid[0, ::3], np.repeat([[0.0], [0.25], [0.5]], 3, axis=1))
    np.testing.assert_allclose(grid[3, ::3, 0], [0.75, 1.0, 1.0])
    np.testing.assert_array_equal(grid[2], 1.0)
    np.testing.assert_allclose(tile(np.full((1, 2, 2, 3), [2.0, 0.0, -2.0]), 1)[0, 0], [1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    "name", ["$5_$10", "Ba$$in", "bad\udcff", "\N{CAT}\N{CJK UNIFIED IDEOGRAPH-732B}", "a\nb", "\x1b[0m", "n" * 300]
)
def test_names_on_sheets_are_no_formulas_and_never_fail(name, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 1), dtype=np.uint8)
    pictures.save_contact_sheet(tmp_path / "data.png", pixels, np.arange(12) % 2, (name, "b"), name)
    with Image.open(tmp_path / "data.png") as picture:
        picture.verify()


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_row_by_row_with_transparent_gaps(channels):
    pixels = images(5, channels=channels, size=4)
    grid = arrange(pixels, num_columns=3, gap=2)
    assert grid.shape == (10, 16, channels + 1)
    for number in range(5):
        top, left = 6 * (number // 3), 6 * (number % 3)
        np.testing.assert_array_equal(grid[top : top + 4, left : left + 4, :-1], pixels[number])
        assert (grid[top : top + 4, left : left + 4, -1] == 255).all()
    assert (grid[..., -1] == 255).sum() == 5 * 16


def test_small_images_are_exact_and_enlarged_by_a_whole_factor():
    pixels = images(10)
    strip = make_strip(pixels, num_columns=8, room=530, alt="ten")
    head, decoded = decode(strip.uri)
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(decoded, arrange(pixels, 8))
    assert strip[1:] == ("ten", 7 * 71, 7 * 17, True)
    # A row that is not full has images of the same size.
    assert make_strip(images(2), 8, 530, "two").width == 7 * 17


def test_describe_clusters():
    clusters, labels = np.asarray([0, 0, 0, 2]), np.asarray([1, 1, 0, 0])
    lines = ["0: 3 images, 67% 'dog'", "1: 0 images", "2: 1 images, 100% 'cat'"]
    assert describe_clusters(clusters, 3, labels, ("cat", "dog")) == lines
    assert describe_clusters(clusters, 1) == ["0: 3 images"]


def test_sheets_are_written(tmp_path):
    pixels = np.random.default_rng(0).uniform(-1, 1, (3, 4, 8, 8, 1))
    pictures.save_cluster_sheet(tmp_path / "clusters.png", pixels, ["a", "b", "c"])
    pictures.save_reconstructions(tmp_path / "reconstructions.png", pixels, -pixels, ["a", "b", "c"])
    with Image.open(tmp_path / "clusters.png") as sheet, Image.open(tmp_path / "reconstructions.png") as pairs:
        assert pairs.width > sheet.width > 200
        assert min(sheet.height, pairs.height) > 100


@pytest.mark.parametrize(
    ("labels", "rows"), [(None, [""]), (np.arange(7) % 2, ["0", "1"]), (np.arange(7), ["0", "3", "6"])]
)
def test_contact_sheet_shows_any_number_of_images(tmp_path, sheets, labels, rows):
    pixels = images(7, channels=3)
    pictures.save_contact_sheet(tmp_path / "data.png", pixels, labels, None, "mine", num_columns=4, max_rows=3)
    shown, num_columns, names, title = sheets["data.png"]
    assert (num_columns, names, title) == (4, rows, "mine: 7 real images")
    numbers = [int(np.flatnonzero((pixels == np.round((x + 1) * 127.5)).all(axis=(1, 2, 3)))[0]) for x in shown]
    if labels is None:
        assert len(set(numbers)) == 4
    else:
        assert [str(label) for label in labels[numbers]] == list(np.repeat(rows, 4))


class Levels(TrainedModel):
    """Generates images as bright as the number of their cluster, and reconstructs negatives."""

    config = SimpleNamespace(evaluation=SimpleNamespace(samples_per_cluster=4))
    num_clusters, image_shape, seed = 3, (8, 8, 1), 0

    def __init__(self):
        pass

    def generate(self, key, n, cluster=None, truncation=1.0):
        return np.asarray(cluster)[:, None, None, None] * np.ones((n, 8, 8, 1), np.float32)

    def reconstruct(self, images):
        return np.float32(1.0) - images.astype(np.float32) / np.float32(127.5)


def test_pictures_of_a_run_have_a_row_per_cluster(tmp_path, sheets):
    sample, clusters = Examples(images(5), np.asarray([1, 1, 0, 0, 0])), np.asarray([2, 2, 2, 0, 2])
    pictures.draw_pictures(Levels(), sample, clusters, ("cat", "dog"), tmp_path)
    generated, num_columns, rows, _ = sheets["clusters.png"]
    np.testing.assert_array_equal(generated[:, 0, 0, 0], np.repeat([0, 1, 2], 4))
    assert (num_columns, rows) == (4, ["0: 1 images, 100% 'cat'", "1: 0 images", "2: 4 images, 50% 'cat'"])
    pairs, num_columns, rows, _ = sheets["reconstructions.png"]
    assert (num_columns, rows) == (4, ["cluster 0", "cluster 2"])
    # The only image of cluster 0 twice, then the first two of cluster 2.
    np.testing.assert_allclose(pairs[::2], sample.images[[3, 3, 0, 1]] / 127.5 - 1, atol=1e-6)
    np.testing.assert_allclose(pairs[1::2], -pairs[::2], atol=1e-6)
