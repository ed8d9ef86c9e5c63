"""From any picture or array to squares: depth, transparency, orientation, antialiasing, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import from_arrays
from mpcc_jax.data.images import as_images, fit_array, fit_picture, is_gray, read_picture, to_8_bit
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (6, 8)).astype(np.uint8)
COLOUR = RNG.integers(0, 256, (6, 8, 3)).astype(np.uint8)
LARGE = RNG.integers(0, 256, (3, 30, 20, 3)).astype(np.uint8)
SMOOTH = Image.fromarray(COLOUR).resize((800, 600), Image.Resampling.BICUBIC)


def reopened(image, kind="PNG", **options):
    """As Pillow opens it from a file, not as it was made."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(io.BytesIO(file.getvalue()))


def test_all_depths_span_0_to_255():
    bilevel = reopened(Image.fromarray(GRAY > 128))
    assert bilevel.mode == "1"
    np.testing.assert_array_equal(to_8_bit(bilevel, 1), (GRAY > 128) * 255)
    values = RNG.integers(0, 65536, (6, 8)).astype(np.uint16)
    deep = reopened(Image.fromarray(values))
    assert deep.mode.startswith("I")
    np.testing.assert_array_equal(to_8_bit(deep, 3), np.round(values / 257)[..., None].repeat(3, axis=-1))
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


def test_gray_by_mode_or_palette():
    palette = reopened(Image.fromarray(COLOUR).quantize(256))
    np.testing.assert_array_equal(to_8_bit(palette, 3), palette.convert("RGB"))
    gray = [Image.new(mode, (2, 2)) for mode in ("1", "LA", "I;16")] + [Image.fromarray(GRAY).quantize(256)]
    colour = [Image.new(mode, (2, 2)) for mode in ("RGB", "CMYK")] + [palette]
    assert [is_gray(image) for image in gray + colour] == [True] * 4 + [False] * 3
    for image in gray + colour:
        assert [to_8_bit(image, channels).mode for channels in (1, 3)] == ["L", "RGB"]


def test_the_crop_is_the_centred_square():
    np.testing.assert_array_equal(fit_array(GRAY[..., None], 6)[..., 0], GRAY[:, 1:7])
    np.testing.assert_array_equal(fit_array(COLOUR.transpose(1, 0, 2), 6), COLOUR.transpose(1, 0, 2)[1:7])


def test_reduction_is_antialiased():
    """A fine chequerboard becomes even gray; picking pixels would give black or white."""
    board = ((np.indices((64, 64)).sum(axis=0) % 2) * 255).astype(np.uint8)
    assert np.abs(fit_picture(Image.fromarray(board), 8, 1).astype(int) - 127).max() <= 4
    means = np.asarray(SMOOTH)[:, 100:700].mean(axis=(0, 1))
    np.testing.assert_allclose(fit_picture(SMOOTH, 8, 3).mean(axis=(0, 1)), means, atol=4)


def test_photographs_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.zeros((16, 16), np.uint8)
    upright[:8] = 255
    photo = reopened(Image.fromarray(np.rot90(upright).copy()), "JPEG", exif=exif, quality=95)
    np.testing.assert_allclose(fit_picture(photo, 16, 1)[..., 0], upright, atol=30)


def test_a_large_jpeg_file_is_the_same_as_decoded_in_full(tmp_path):
    SMOOTH.resize((800, 800)).save(tmp_path / "photo.jpg", quality=95)
    with Image.open(tmp_path / "photo.jpg") as photo:
        in_full = fit_picture(photo, 16, 3)
    np.testing.assert_allclose(read_picture(tmp_path / "photo.jpg", 16, 3), in_full, atol=6)


def test_pictures_of_the_caller_stay_as_they_are():
    photo = reopened(SMOOTH, "JPEG", quality=95)
    as_images([photo], (8, 8, 3))
    assert photo.size == SMOOTH.size
    np.testing.assert_array_equal(photo, reopened(SMOOTH, "JPEG", quality=95))


def test_images_of_the_right_size_pass_as_they_are():
    assert as_images(SMALL_IMAGES, (8, 8, 1)) is SMALL_IMAGES
    np.testing.assert_array_equal(as_images(SMALL_IMAGES[..., 0], (8, 8, 1)), SMALL_IMAGES)
    floats = as_images(SMALL_IMAGES / 127.5 - 1.0, (8, 8, 1))
    assert floats.dtype == np.float32
    np.testing.assert_allclose(floats, SMALL_IMAGES / 127.5 - 1.0, atol=1e-6)


def test_other_sizes_are_resized_as_training_data():
    expected = from_arrays(LARGE, resolution=8).images
    for images in (LARGE, list(LARGE), [Image.fromarray(image) for image in LARGE]):
        np.testing.assert_array_equal(as_images(images, (8, 8, 3)), expected)
    mixed = [LARGE[0], LARGE[1][:8, :8], LARGE[2][:5]]
    expected = [from_arrays(image[None], resolution=8).images[0] for image in mixed]
    np.testing.assert_array_equal(as_images(mixed, (8, 8, 3)), expected)
    gray = as_images(LARGE[..., :1], (8, 8, 1))
    np.testing.assert_array_equal(as_images([image[..., 0] for image in LARGE], (8, 8, 1)), gray)


def test_floats_are_resized_as_bytes_up_to_rounding():
    floats = as_images(LARGE / 127.5 - 1.0, (8, 8, 3))
    # Pillow rounds 8-bit pixels after each of its two passes.
    np.testing.assert_allclose((floats + 1.0) * 127.5, as_images(LARGE, (8, 8, 3)), atol=1.01)
    assert (((floats + 1.0) * 127.5) % 1.0).std() > 0.1, "not rounded"


@pytest.mark.parametrize(
    ("images", "channels", "message"),
    [
        (LARGE, 1, "3 channels; allowed: 1,"),
        (LARGE.transpose(0, 3, 1, 2), 3, "Channels come last"),
        (list(LARGE), 1, "3 channels"),
        (SMALL_IMAGES[:0], 1, "with N > 0"),
        ([], 1, "empty"),
        (LARGE[0], 3, r"One image is images\[None\]"),
        (SMALL_IMAGES.astype(int), 1, "int64; allowed: uint8"),
        (SMALL_IMAGES * 1.0, 1, "from 0 to 255; allowed"),
        (np.full((2, 8, 8, 1), np.nan), 1, "128 values that are NaN"),
        ([SMALL_IMAGES[0], SMALL_IMAGES[1] / 255.0], 1, "both 8-bit and float"),
        ([np.zeros((2, 3, 4, 1), np.uint8)], 1, "an image of the list"),
    ],
)
def test_images_that_cannot_be_used(images, channels, message):
    with pytest.raises(DataError, match=message):
        as_images(images, (8, 8, channels))
