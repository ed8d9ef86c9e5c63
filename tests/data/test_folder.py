"""Folders of pictures: every kind of file, labels by subfolder, damaged files."""

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import load_dataset
from mpcc_jax.errors import DataError
from tests.conftest import tiny_config

RNG = np.random.default_rng(0)


def picture(height=12, width=10, channels=3):
    pixels = RNG.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return Image.fromarray(pixels[..., 0] if channels == 1 else pixels)


def load(folder, **settings):
    config = tiny_config()
    config.data.update({"name": f"folder:{folder}", "cache": False, **settings})
    return load_dataset(config)


def test_subfolders_are_classes_and_files_come_in_order(tmp_path):
    colours = {"b/2.png": 20, "a/1.bmp": 10, "b/deep/3.png": 30, "a/0.PNG": 0}
    for name, level in colours.items():
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
    picture().save(tmp_path / "colour.png")
    picture().save(tmp_path / "photo.jpg")
    picture().save(tmp_path / "photo.jpeg")
    picture().save(tmp_path / "web.webp")
    picture().save(tmp_path / "bitmap.bmp")
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


def test_damaged_pictures_stop_or_are_skipped(tmp_path):
    for index in range(6):
        picture(40, 40).save(tmp_path / f"{index}.png")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "5.png").write_text("no picture")
    with pytest.raises(DataError, match=r"3.png cannot be read as a picture .*--config.data.skip_bad=True"):
        load(tmp_path)
    dataset = load(tmp_path, skip_bad=True)
    assert len(dataset.images) == 4
    assert dataset.notes == ("2 unreadable files skipped: 3.png, 5.png",)


def test_labels_stay_with_their_pictures_when_some_are_skipped(tmp_path):
    for name in ("a/0.png", "b/1.png", "b/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        picture().save(tmp_path / name)
    (tmp_path / "b/1.png").write_text("no picture")
    np.testing.assert_array_equal(load(tmp_path, skip_bad=True).labels, [0, 1])


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(DataError, match=r"there is no such folder; allowed: folder:PATH"):
        load(tmp_path / "missing")
    with pytest.raises(DataError, match=r"holds no pictures \(0 other files\); allowed: .png, .jpg"):
        load(tmp_path)
    (tmp_path / "one").mkdir()
    picture().save(tmp_path / "one" / "a.png")
    picture().save(tmp_path / "one" / "b.png")
    with pytest.raises(DataError, match=r"have the label 'one'.*--config.data.labels=False"):
        load(tmp_path)
    picture().save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"1 pictures beside its subfolders \(such as 'c.png'\) and 2 in them"):
        load(tmp_path)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.png").write_text("no picture")
    with pytest.raises(DataError, match="none of the 1 images"):
        load(tmp_path / "none", skip_bad=True)
