"""Folders of pictures as a data set and as new images: every kind of file, labels by subfolder, damaged files."""

import os

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import load_dataset
from mpcc_jax.data.folder import find_pictures, read_images
from mpcc_jax.data.images import as_images
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES, tiny_config

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (3, 12, 20, 3)).astype(np.uint8)


def picture(height=12, width=10, channels=3):
    pixels = RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def load(folder, **settings):
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache": False, **settings})
    return load_dataset(config)


def test_subfolders_are_classes_and_files_come_in_order(tmp_path):
    levels = {"b/2.png": 20, "a/1.bmp": 10, "b/deep/3.png": 30, "a/0.PNG": 0}
    for name, level in levels.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), level).save(tmp_path / name)
    (tmp_path / "a" / "notes.txt").write_text("not a picture")
    (tmp_path / "a" / ".hidden.png").write_text("not a picture either")
    dataset = load(tmp_path)
    np.testing.assert_array_equal(dataset.images[:, 0, 0, 0], [0, 10, 20, 30])
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1])
    assert dataset.class_names == ("a", "b")
    assert dataset.images.shape == (4, 8, 8, 1)
    assert "1 other files ignored" in dataset.notes
    assert load(tmp_path, labels=False).labels is None


def test_a_flat_folder_of_all_kinds_has_no_labels(tmp_path):
    for name in ("colour.png", "photo.jpg", "photo.jpeg", "web.webp", "bitmap.bmp"):
        picture().save(tmp_path / name)
    picture(channels=1).save(tmp_path / "gray.png")
    picture(channels=4).save(tmp_path / "transparent.png")
    picture().quantize(16).save(tmp_path / "palette.png")
    picture(channels=1).point(lambda value: 255 * (value > 127), mode="1").save(tmp_path / "bilevel.png")
    Image.fromarray(RNG.integers(0, 65536, (9, 30)).astype(np.uint16)).save(tmp_path / "deep.png")
    dataset = load(tmp_path)
    assert dataset.images.shape == (10, 8, 8, 3)
    assert dataset.labels is None
    assert dataset.notes == ("3 gray and 7 colour pictures, made RGB",)
    assert load(tmp_path, channels=1).images.shape == (10, 8, 8, 1)


@pytest.mark.parametrize("cache", [False, True])
def test_damaged_pictures_stop_or_are_skipped(tmp_path, cache):
    """What is left keeps its labels, in memory and in the cache."""
    folder, settings = tmp_path / "pictures", {"cache": cache, "cache_dir": str(tmp_path / "cache")}
    for index in range(6):
        path = folder / "aaabbb"[index] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), 10 * index).save(path)
    (folder / "a" / "1.png").write_bytes((folder / "a" / "1.png").read_bytes()[:60])
    (folder / "b" / "4.png").write_text("no picture")
    with pytest.raises(DataError, match=r"1.png cannot be read as a picture .*--config.data.skip_bad=True"):
        load(folder, **settings)
    dataset = load(folder, skip_bad=True, **settings)
    np.testing.assert_array_equal(dataset.images[:, 0, 0, 0], [0, 20, 30, 50])
    np.testing.assert_array_equal(dataset.labels, [0, 0, 1, 1])
    assert dataset.notes[0] == "2 unreadable files skipped: a/1.png, b/4.png"


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"there is no such folder; allowed: folder:PATH"):
        load(tmp_path / "missing")
    with pytest.raises(DataError, match=r"holds no pictures \(0 other files\); allowed: .png, .jpg"):
        load(tmp_path)
    (tmp_path / "one").mkdir()
    for name in ("a.png", "b.png"):
        picture().save(tmp_path / "one" / name)
    with pytest.raises(DataError, match=r"have the label 'one'.*--config.data.labels=False"):
        load(tmp_path)
    picture().save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"1 pictures beside its subfolders \(such as 'c.png'\) and 2 in them"):
        load(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="none of the 1 images"):
        load(tmp_path / "none", skip_bad=True)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "b").mkdir()
    for name, image in zip(("z.png", "a.png", "b/x.png"), COLOUR, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    return tmp_path


def test_images_of_a_folder_or_a_file(folder):
    (folder / "m.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"m\.png cannot be read as a picture .*--skip_bad"):
        read_images(folder, (8, 8, 3))
    files = read_images(folder, (8, 8, 3), skip_bad=True)
    assert files.names == ["a.png", "b/x.png", "z.png"]
    assert [name for name, _ in files.skipped] == ["m.png"]
    np.testing.assert_array_equal(files.images, as_images(COLOUR[[1, 2, 0]], (8, 8, 3)))
    np.testing.assert_array_equal(np.asarray(files.originals(2)), COLOUR[0])
    assert read_images(folder / "b", (8, 8, 1)).images.shape == (1, 8, 8, 1), "made gray, as in training"
    files = read_images(folder / "z.png", (8, 8, 3))
    assert files.names == ["z.png"]
    np.testing.assert_array_equal(files.images, as_images(COLOUR[:1], (8, 8, 3)))


def test_images_of_an_npz(tmp_path):
    path = tmp_path / "some.npz"
    np.savez(path, images=COLOUR, labels=[0, 1, 1])
    files = read_images(path, (8, 8, 3))
    assert files.names == ["some.npz[0]", "some.npz[1]", "some.npz[2]"]
    np.testing.assert_array_equal(files.images, as_images(COLOUR, (8, 8, 3)))
    np.testing.assert_array_equal(np.asarray(files.originals(2)), COLOUR[2])
    np.savez(path, images=SMALL_IMAGES / 127.5 - 1.0)  # floats
    np.testing.assert_array_equal(np.asarray(read_images(path, (8, 8, 1)).originals(3)), SMALL_IMAGES[3, ..., 0])


def test_no_images_to_read(tmp_path):
    with pytest.raises(DataError, match=r"--images is .*; allowed: a folder"):
        read_images(tmp_path / "missing", (8, 8, 3))
    with pytest.raises(DataError, match=r"holds no pictures \(0 other files\)"):
        read_images(tmp_path, (8, 8, 3))
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot be read"):
        read_images(tmp_path, (8, 8, 3), skip_bad=True)


@pytest.fixture
def tree(tmp_path):
    """a/1.png and b/2.png, and another folder outside with 3.png."""
    for name in ("root/a/1.png", "root/b/2.png", "outside/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(channels=1).save(tmp_path / name)
    return tmp_path / "root"


def test_links_are_followed_and_every_picture_is_read_once(tree):
    (tree / "a" / "up").symlink_to("..")
    (tree / "a" / "above").symlink_to(tree.parent)
    (tree / "b" / "again").symlink_to("../a")
    (tree / "b" / "same.png").symlink_to("../a/1.png")
    (tree / "b" / "other.txt").symlink_to("../a/1.png")
    (tree / "c").symlink_to(tree.parent / "outside")
    (tree / "d").symlink_to("d")
    found = find_pictures(tree)
    # `a/above` holds the tree itself, and what `c` leads to.
    assert found.paths == ["a/1.png", "b/2.png", "c/3.png"]
    assert found.left_out == {"links to what is there already": 6, "other files": 1}
    assert load(tree).class_names == ("a", "b", "c")


def test_links_that_lead_nowhere_and_what_is_no_file_are_named(tree):
    (tree / "a" / "gone.png").symlink_to("/nowhere/gone.png")
    (tree / "a" / "self.png").symlink_to("self.png")
    os.mkfifo(tree / "b" / "pipe.png")
    (tree / "b" / "folder.png").mkdir()
    for name, reason in (("a/gone", "No such file"), ("a/self", "Too many levels"), ("b/pipe", "it is no file")):
        with pytest.raises(DataError, match=rf"{name}.png cannot be read as a picture \(.*{reason}"):
            load(tree)
        (tree / f"{name}.png").unlink()
    os.mkfifo(tree / "b" / "pipe.png")
    dataset = load(tree, skip_bad=True)
    assert (len(dataset.images), dataset.labels.tolist()) == (2, [0, 1])
    assert "1 unreadable files skipped: b/pipe.png" in dataset.notes
    with pytest.raises(DataError, match=r"pipe.png cannot be read"):
        read_images(tree, (8, 8, 1))
    assert read_images(tree, (8, 8, 1), skip_bad=True).names == ["a/1.png", "b/2.png"]


def test_system_folders_are_left_out_and_counted(tree):
    for name in ("@eaDir", "b/__MACOSX", "lost+found", "$RECYCLE.BIN"):
        (tree / name).mkdir()
        picture().save(tree / name / "thumbnail.png")
    picture().save(tree / "a" / "._1.png", "PNG")
    dataset = load(tree)
    assert (dataset.class_names, len(dataset.images)) == (("a", "b"), 2)
    assert "4 system folders ignored" in dataset.notes


def test_folders_that_cannot_be_read_are_named(tree, monkeypatch):
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("/b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"the folder '.*/b' cannot be read \(Permission denied\)"):
        load(tree)
    with pytest.raises(DataError, match="cannot be read"):
        read_images(tree, (8, 8, 1))
    assert "1 folders that cannot be read skipped" in load(tree, skip_bad=True, labels=False).notes


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "VAL", "Test"), ("train",)])
def test_the_parts_of_a_data_set_are_no_classes(names, tmp_path):
    for name in names:
        for kind in ("cat", "dog"):
            (tmp_path / name / kind).mkdir(parents=True)
            picture(channels=1).save(tmp_path / name / kind / "1.png")
    with pytest.raises(
        DataError, match=r"which are parts of a data set and no classes; name one, as in --config.data.na"
    ):
        load(tmp_path)
    assert load(tmp_path / names[0]).class_names == ("cat", "dog")
    assert len(load(tmp_path, labels=False).images) == 2 * len(names)
