"""Strips of images: every pixel where it should be, in the file too."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.report.images import arrange, make_strip, save_strip, shrink
from tests.report.examples import images


def decode(uri):
    head, content = uri.split(",")
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        return head, np.asarray(picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_lie_row_by_row_with_transparent_gaps(channels):
    given = images(5, channels=channels, size=4)
    grid = arrange(given, num_columns=3, gap=2)
    assert grid.shape == (10, 16, channels + 1)
    for number in range(5):
        top, left = 6 * (number // 3), 6 * (number % 3)
        place = grid[top : top + 4, left : left + 4]
        np.testing.assert_array_equal(place[..., :-1], given[number])
        assert (place[..., -1] == 255).all()
    assert (grid[..., -1] == 255).sum() == 5 * 16


def test_large_images_become_smaller():
    smooth = np.broadcast_to(np.linspace(0, 255, 40).astype(np.uint8)[None, None, :, None], (2, 40, 40, 3))
    small = shrink(smooth, 10)
    assert small.shape == (2, 10, 10, 3)
    np.testing.assert_allclose(small[0, 0, :, 0], smooth[0, 0, :, 0].reshape(10, 4).mean(axis=1), atol=4)
    assert shrink(smooth, 40) is smooth
    assert shrink(images(1, size=20), 7).shape == (1, 7, 7, 1)


def test_small_images_are_exact_and_enlarged_by_a_whole_factor():
    given = images(10)
    strip = make_strip(given, num_columns=8, room=530, alt="ten")
    head, pixels = decode(strip.uri)
    assert head == "data:image/png;base64"
    np.testing.assert_array_equal(pixels, arrange(given, 8))
    assert (strip.width, strip.height) == (7 * 71, 7 * 17)
    assert strip.exact
    assert strip.alt == "ten"


def test_a_row_that_is_not_full_has_images_of_the_same_size():
    assert make_strip(images(2), 8, 530, "two").width == 7 * 17


def test_large_images_fit_into_the_room():
    strip = make_strip(images(8, size=128, channels=3), 8, 530, "large")
    head, pixels = decode(strip.uri)
    assert head == "data:image/webp;base64"
    assert pixels.shape == (64, 8 * 65 - 1, 4)
    assert strip.width == 8 * 65 - 1
    assert not strip.exact


def test_file_has_enlarged_pixels(tmp_path):
    given = images(3, channels=3)
    save_strip(tmp_path / "strip.png", given, num_columns=2, side=16)
    with Image.open(tmp_path / "strip.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (34, 34, 4)
    np.testing.assert_array_equal(pixels[:16:2, 18::2, :3], given[1])
    np.testing.assert_array_equal(pixels[1:16:2, 19::2, :3], given[1])
