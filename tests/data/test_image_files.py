"""Pictures on disk as a trained model takes them."""

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data.folder import read_images
from mpcc_jax.data.images import as_images
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES

COLOUR = np.random.default_rng(1).integers(0, 256, (3, 12, 20, 3)).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    for name, image in zip(("z.png", "a.png", "b/x.png"), COLOUR, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def test_a_folder_and_its_subfolders(folder):
    given = read_images(folder, (8, 8, 3))
    assert given.names == ["a.png", "b/x.png", "z.png"]
    np.testing.assert_array_equal(given.images, as_images(COLOUR[[1, 2, 0]], (8, 8, 3)))
    np.testing.assert_array_equal(np.asarray(given.originals(1)), COLOUR[2])
    assert read_images(folder, (8, 8, 1)).images.shape == (3, 8, 8, 1), "made gray, as in training"


def test_one_picture(folder):
    given = read_images(folder / "z.png", (8, 8, 3))
    assert given.names == ["z.png"]
    np.testing.assert_array_equal(given.images, as_images(COLOUR[:1], (8, 8, 3)))


def test_an_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, images=COLOUR, labels=[0, 1, 1])
    given = read_images(path, (8, 8, 3))
    assert given.names == ["some.npz[0]", "some.npz[1]", "some.npz[2]"]
    np.testing.assert_array_equal(given.images, as_images(COLOUR, (8, 8, 3)))
    np.testing.assert_array_equal(np.asarray(given.originals(2)), COLOUR[2])
    np.savez(path, images=SMALL_IMAGES / 127.5 - 1.0)
    np.testing.assert_array_equal(np.asarray(read_images(path, (8, 8, 1)).originals(3)), SMALL_IMAGES[3, ..., 0])


def test_files_that_cannot_be_read(folder):
    (folder / "m.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"m\.png cannot be read as a picture .*--skip_bad"):
        read_images(folder, (8, 8, 3))
    given = read_images(folder, (8, 8, 3), skip_bad=True)
    assert given.names == ["a.png", "b/x.png", "z.png"]
    assert [name for name, _ in given.skipped] == ["m.png"]
    np.testing.assert_array_equal(np.asarray(given.originals(2)), COLOUR[0])


def test_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match=r"--images is .*; allowed: a folder"):
        read_images(tmp_path / "missing", (8, 8, 3))
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no pictures \(1 other files\)"):
        read_images(tmp_path, (8, 8, 3))
    (tmp_path / "bad.png").write_bytes(b"x")
    with pytest.raises(DataError, match="cannot be read"):
        read_images(tmp_path, (8, 8, 3), skip_bad=True)
    (tmp_path / "bad.png").rename(tmp_path / "bad.npz")
    with pytest.raises(DataError, match=r"bad\.npz cannot be read"):
        read_images(tmp_path / "bad.npz", (8, 8, 3))
