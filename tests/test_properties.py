"""Properties of readers, for whatever hypothesis thinks of: pictures, .npz files, labels, names, overrides."""

import functools
import io
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from mpcc_jax.config import flatten, get_config, validate
from mpcc_jax.data import from_arrays
from mpcc_jax.data.arrays import load_npz
from mpcc_jax.data.folder import find_pictures, read_images
from mpcc_jax.data.images import as_images, read_picture
from mpcc_jax.errors import ConfigError, DataError, printable

quick = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
NAMES = st.binary(min_size=1, max_size=60).map(os.fsdecode).filter(lambda name: not {"/", "\0"} & set(name))


def attempt(call, error):
    """What a call returns, and what it says if it refuses."""
    try:
        return call(), None
    except error as refusal:
        return None, str(refusal)


MODES = {"1": 1, "L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


@quick
@given(st.sampled_from(sorted(MODES)), st.integers(1, 20), st.integers(1, 20), st.sampled_from([1, 3]), st.data())
def test_pictures_are_squares_of_their_own_levels(mode, height, width, channels, data):
    pixels = data.draw(arrays.arrays(np.uint8, (height, width, MODES[mode])))
    image = Image.fromarray(pixels if MODES[mode] > 1 else pixels[..., 0]).convert(mode)
    file = io.BytesIO()
    image.save(file, "PNG")
    read = read_picture(file, 8, channels)
    assert (read.shape, read.dtype) == ((8, 8, channels), np.uint8)
    levels = np.asarray(image.convert("RGB"))
    if MODES[mode] in (1, 3):
        assert int(levels.min()) - 1 <= read.min() <= read.max() <= int(levels.max()) + 1
    if (height, width, mode) == (8, 8, "L"):
        np.testing.assert_array_equal(read[..., 0], pixels[..., 0])


ANY_ARRAYS = arrays.arrays(
    st.sampled_from([np.uint8, np.int64, np.float32, np.float64, bool, "U3", "S2"]),
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=6),
)


@quick
@given(ANY_ARRAYS)
@pytest.mark.filterwarnings("ignore:(uint8|float) pixels")
def test_arrays_are_images_or_refused(images):
    for call in (lambda: as_images(images, (8, 8, 1)), lambda: from_arrays(images, resolution=8).images):
        made, refusal = attempt(call, DataError)
        if refusal is None:
            assert made.shape == (len(images), 8, 8, made.shape[-1])
            assert made.dtype in (np.uint8, np.float32)
        else:
            assert "\n" not in refusal


LABELS = st.one_of(
    arrays.arrays(st.sampled_from([np.int8, np.int64, np.uint64]), 12),
    arrays.arrays(np.float64, 12),
    arrays.arrays("U2", 12),
    arrays.arrays("S2", 12),
)


@quick
@given(LABELS)
def test_labels_keep_apart_what_is_different(labels):
    images = np.arange(12, dtype=np.uint8)[:, None, None] + np.zeros((12, 8, 8), np.uint8)
    dataset, refusal = attempt(lambda: from_arrays(images, labels), DataError)
    if refusal is not None:
        assert "labels" in refusal
        return
    same = labels[:, None] == labels
    np.testing.assert_array_equal(dataset.labels[:, None] == dataset.labels, same)
    assert len(dataset.class_sizes) <= 2 * len(np.unique(labels))
    assert json.loads(json.dumps(dataset.facts()))["labels"] == dataset.facts()["labels"]


@quick
@given(st.dictionaries(st.sampled_from(["images", "labels", "x"]), ANY_ARRAYS, max_size=3), st.binary(max_size=40))
def test_files_of_arrays_come_back_or_are_refused(stored, rest):
    path = TMP / "some.npz"
    np.savez(path, **stored)
    content = path.read_bytes()
    for bytes_ in (content, content[: len(content) // 2], rest, content[:40] + rest + content[40:]):
        path.write_bytes(bytes_)
        found, refusal = attempt(lambda: load_npz(path), DataError)
        if refusal is not None:
            assert str(path) in refusal
        elif bytes_ == content:
            assert found.keys() == {"images", "labels"} & stored.keys()


@quick
@given(st.lists(NAMES, min_size=1, max_size=5, unique=True))
def test_names_of_pictures_are_byte_for_byte(names):
    folder = TMP / f"pictures{len(os.listdir(TMP))}"
    folder.mkdir()
    for name in names:
        Image.new("L", (8, 8), 9).save(folder / f"{name}.png", "PNG")
    visible = sorted(f"{name}.png" for name in names if not name.startswith("."))
    if not visible:
        with pytest.raises(DataError):
            find_pictures(folder)
        return
    assert find_pictures(folder).paths == visible
    assert read_images(folder, (8, 8, 1)).names == visible
    for name in visible:
        assert printable(name).isprintable()


FIELDS = sorted(flatten(get_config("digits").to_dict()))


@quick
@given(
    st.sampled_from([*FIELDS, "no.field"]), st.one_of(st.text(max_size=8), st.integers().map(str), st.floats().map(str))
)
def test_overrides_are_taken_or_refused_in_a_line(field, value):
    call = functools.partial(get_config, "digits", [f"--config.{field}={value}"])
    _, refusal = attempt(lambda: validate(call()), ConfigError)
    assert field != "no.field" or refusal is not None
    assert refusal is None or "\n" not in printable(refusal)


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    global TMP
    TMP = tmp_path_factory.mktemp("properties")
