"""From any picture to 8-bit squares: modes, depth, transparency, orientation, crop and antialiasing."""

import io

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data.images import crop_square, fit_array, fit_picture, is_gray, to_8_bit

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)


def reopened(image, kind="PNG", **options):
    """As Pillow opens it from a file, not as it was made."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def test_bilevel_pictures_span_0_to_255():
    bits = GRAY > 128
    image = reopened(Image.fromarray(bits))
    assert image.mode == "1"
    np.testing.assert_array_equal(to_8_bit(image, 1), bits * 255)


def test_16_bit_pictures_are_scaled():
    values = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    image = reopened(Image.fromarray(values))
    assert image.mode.startswith("I")
    np.testing.assert_array_equal(to_8_bit(image, 1), np.round(values / 257))
    np.testing.assert_array_equal(to_8_bit(image, 3), np.round(values / 257)[..., None].repeat(3, axis=-1))


def test_wild_32_bit_pictures_are_refused():
    with pytest.raises(ValueError, match="32-bit pixels from -1 to 70000; allowed: 0 to 65535"):
        to_8_bit(Image.fromarray(np.asarray([[-1, 70000]], np.int32)), 1)


def test_transparency_is_laid_on_the_background():
    alpha = np.asarray([[0, 255, 51]], np.uint8)
    rgba = np.concatenate([np.full((1, 3, 3), 100, np.uint8), alpha[..., None]], axis=-1)
    image = reopened(Image.fromarray(rgba))
    np.testing.assert_allclose(np.asarray(to_8_bit(image, 1, 255))[0], [255, 100, 224], atol=1)
    np.testing.assert_allclose(np.asarray(to_8_bit(image, 3, 0))[0, :, 0], [0, 100, 20], atol=1)
    gray = reopened(Image.fromarray(np.asarray([[10, 20]], np.uint8)), transparency=10)
    np.testing.assert_array_equal(np.asarray(to_8_bit(gray, 1, 255)), [[255, 20]])


def test_palettes_are_looked_up():
    palette = reopened(Image.fromarray(COLOUR).quantize(256))
    assert palette.mode == "P"
    np.testing.assert_array_equal(to_8_bit(palette, 3), palette.convert("RGB"))
    assert not is_gray(palette)
    assert is_gray(Image.fromarray(GRAY).quantize(256))


@pytest.mark.parametrize(("mode", "gray"), [("1", True), ("L", True), ("LA", True), ("RGB", False), ("CMYK", False)])
def test_gray_by_mode(mode, gray):
    image = Image.new(mode, (2, 2))
    assert is_gray(image) == gray
    assert to_8_bit(image, 3).mode == "RGB"
    assert to_8_bit(image, 1).mode == "L"


def test_the_crop_is_the_centred_square():
    np.testing.assert_array_equal(crop_square(Image.fromarray(GRAY)), GRAY[:, 1:7])
    np.testing.assert_array_equal(crop_square(Image.fromarray(GRAY.T.copy())), GRAY.T[1:7])


def test_reduction_is_antialiased():
    """A fine chequerboard becomes even gray; picking pixels would give black or white."""
    board = ((np.indices((64, 64)).sum(axis=0) % 2) * 255).astype(np.uint8)
    assert np.abs(fit_picture(Image.fromarray(board), 8, 1).astype(int) - 127).max() <= 4


def test_means_survive_a_reduction_of_real_sizes():
    smooth = np.asarray(Image.fromarray(COLOUR).resize((90, 60), Image.Resampling.BICUBIC))
    small = fit_picture(Image.fromarray(smooth), 8, 3)
    assert small.shape == (8, 8, 3)
    np.testing.assert_allclose(small.mean(axis=(0, 1)), smooth[:, 15:75].mean(axis=(0, 1)), atol=4)


def test_photographs_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.zeros((16, 16), np.uint8)
    upright[:8] = 255
    photo = reopened(Image.fromarray(np.rot90(upright).copy()), "JPEG", exif=exif, quality=95)
    np.testing.assert_allclose(fit_picture(photo, 16, 1)[..., 0], upright, atol=30)


def test_a_large_jpeg_is_the_same_as_decoded_in_full():
    smooth = Image.fromarray(COLOUR).resize((800, 800), Image.Resampling.BICUBIC)
    photo = reopened(smooth, "JPEG", quality=95)
    in_full = photo.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(fit_picture(reopened(smooth, "JPEG", quality=95), 16, 3), in_full, atol=6)


@pytest.mark.parametrize("channels", [1, 3])
def test_arrays_are_fitted_as_pictures(channels):
    array = COLOUR[..., :channels]
    picture = Image.fromarray(array[..., 0] if channels == 1 else array)
    np.testing.assert_array_equal(fit_array(array, 4), fit_picture(picture, 4, channels))
    square = array[:, :6]
    assert fit_array(square, 6) is square
