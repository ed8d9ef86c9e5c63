"""From any picture or array to squares: depth, transparency, orientation, antialiasing, and what is refused."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import from_arrays
from mpcc_jax.data.images import as_images, fit_array, fit_picture, is_gray, read_picture, to_8_bit
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES
from tests.data import fuzz_pictures

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
        (LARGE[0], 3, r"One image \[H, W, C\] is images\[None\]"),
        (SMALL_IMAGES.astype(int), 1, "int64 from 0 to 255; allowed: uint8"),
        (SMALL_IMAGES * 1.0, 1, "from 0 to 255; allowed"),
        (np.full((2, 8, 8, 1), np.nan), 1, "128 values that are NaN"),
        ([SMALL_IMAGES[0], SMALL_IMAGES[1] / 255.0], 1, "both 8-bit and float"),
        ([np.zeros((2, 3, 4, 1), np.uint8)], 1, "an image of the list"),
    ],
)
def test_images_that_cannot_be_used(images, channels, message):
    with pytest.raises(DataError, match=message):
        as_images(images, (8, 8, channels))


def exif_block(*entries):
    """An EXIF block of (tag, type, count, bytes), whatever they are."""
    offset, body, table = 8 + 2 + 12 * len(entries) + 4, b"", b""
    for tag, kind, count, value in entries:
        field = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack("<I", offset + len(body))
        body += value if len(value) > 4 else b""
        table += struct.pack("<HHI", tag, kind, count) + field
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0) + body


TURNED = (0x112, 3, 1, struct.pack("<H", 6))


@pytest.mark.parametrize(
    ("block", "turned"),
    [
        (exif_block(TURNED), True),
        (exif_block(TURNED, (0x11A, 2, 3, b"72\0")), True),  # XResolution as text
        (exif_block(TURNED, (0x11A, 10, 1, struct.pack("<ii", -1, 0))), True),
        (exif_block((0x100, 5, 1, struct.pack("<II", 16, 1)), TURNED), True),  # ImageWidth as a fraction
        (exif_block(TURNED, (0x8298, 5, 1, struct.pack("<II", 1, 1))), True),
        (exif_block(TURNED, (0x213, 2, 2, b"1\0")), True),
        (exif_block((0x112, 2, 2, b"6\0")), False),  # the orientation as text
        (exif_block((0x112, 3, 1, struct.pack("<H", 77))), False),
        (exif_block((0x112, 3, 2**30, struct.pack("<I", 10**9))), False),
        (exif_block(TURNED)[:20], False),
        (b"Exif\0\0II*\0" + struct.pack("<I", 2**31), False),
        (b"Exif\0\0XX", False),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of what it skips
def test_of_exif_the_orientation_alone_matters(block, turned):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:] = 200
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=100, exif=block)
    read = read_picture(io.BytesIO(file.getvalue()), 8, 1)[..., 0].astype(int)
    expected = np.rot90(pixels[..., 0], -1) if turned else pixels[..., 0]
    assert np.abs(read - expected).max() < 20


@pytest.mark.parametrize("depth", [1, 8, 16])
@pytest.mark.parametrize("background", [0, 90, 255])
def test_transparent_levels_of_every_depth_are_laid_on_the_background(depth, background):
    low, high = {1: (0, 1), 8: (3, 233), 16: (1000, 60000)}[depth]
    row = b"\x0f" if depth == 1 else np.array([low] * 4 + [high] * 4, {8: "u1", 16: ">u2"}[depth]).tobytes()

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 8, 8, depth, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"tRNS", struct.pack(">H", low))]
    parts += [chunk(b"IDAT", zlib.compress(b"".join([b"\0" + row] * 8))), chunk(b"IEND", b"")]
    with Image.open(io.BytesIO(b"\x89PNG\r\n\x1a\n" + b"".join(parts))) as image:
        read = fit_picture(image, 8, 1, background)[0, :, 0]
    assert read.tolist() == [background] * 4 + [{1: 255, 8: 233, 16: round(60000 / 257)}[depth]] * 4


def test_pillow_images_are_laid_on_the_background_too():
    clear = Image.new("LA", (8, 8), (0, 0))
    assert [as_images([clear], (8, 8, 1), background=level)[0, 0, 0, 0] for level in (0, 90, 255)] == [0, 90, 255]


@pytest.mark.parametrize("shape", [(64, 48, 3), (8, 8, 1), (9, 9, 4)])
def test_one_image_is_not_taken_for_many(shape):
    image = np.zeros(shape, np.uint8)
    for call in (lambda: as_images(image, (8, 8, 1)), lambda: from_arrays(image, resolution=8)):
        with pytest.raises(DataError, match=r"may be one image or many. One image \[H, W, C\] is images\[None\]; gray"):
            call()


def test_pixels_from_0_to_1_are_doubted():
    floats = SMALL_IMAGES / 255
    with pytest.warns(UserWarning, match=r"float pixels go from 0 to 1, .*if 0 is black, give 2 \* images - 1"):
        as_images(floats, (8, 8, 1))
    with pytest.warns(UserWarning, match="uint8 pixels are 0 and 1 alone"):
        as_images(list((floats > 0.5).astype(np.uint8)), (8, 8, 1))
    as_images(np.ones((2, 8, 8, 1)), (8, 8, 1))  # white
    as_images(2 * floats - 1, (8, 8, 1))


@pytest.mark.parametrize(
    ("images", "advice"),
    [
        (SMALL_IMAGES > 99, r"bool; allowed.*Masks are 255 \* images"),
        (SMALL_IMAGES.astype(np.int64), r"from 0 to 255; allowed.*Convert by images.astype"),
        (SMALL_IMAGES.astype(np.int64) * 9, "Scale them to 0 to 255"),
        ((SMALL_IMAGES > 99).astype(np.int32), "from 0 to 1; allowed.*Scale them to 0 to 255"),
    ],
)
def test_advice_on_other_types_is_right(images, advice):
    for call in (lambda: as_images(images, (8, 8, 1)), lambda: from_arrays(images)):
        with pytest.raises(DataError, match=advice):
            call()


def test_mutated_files_are_refused_or_read_as_pillow_reads_them():
    results = fuzz_pictures.run(30_000, seed=0)
    assert min(results[name] for name in ("refused", "read", "same pixels")) > 1000
