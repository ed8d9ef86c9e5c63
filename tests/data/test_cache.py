"""The cache of prepared arrays: complete or absent, keyed by all that the pixels depend on, memory-mapped."""

import os
import shutil
import time
from types import SimpleNamespace

import numpy as np
import pytest

from mpcc_jax.config import cache_dir
from mpcc_jax.data import load_dataset, sources
from mpcc_jax.errors import DataError
from tests.conftest import tiny_config

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 9, 9, 1)).astype(np.uint8)
LABELS = np.arange(30) % 3


@pytest.fixture
def config(tmp_path):
    np.savez(tmp_path / "mine.npz", images=IMAGES, labels=LABELS)
    config = tiny_config()
    config.data.update({"name": f"npz:{tmp_path / 'mine.npz'}", "cache_dir": str(tmp_path / "cache")})
    return config


def entries(config):
    folder = cache_dir(config.data.cache_dir) / "npz_mine"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_second_load_reads_nothing_and_is_memory_mapped(config, monkeypatch):
    first = load_dataset(config)
    monkeypatch.setattr(sources, "read_blocks", lambda *_: pytest.fail("read again"))
    again = load_dataset(config)
    assert isinstance(again.images, np.memmap)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, LABELS)
    assert again.facts() == first.facts()
    config.data.cache = False
    with pytest.raises(pytest.fail.Exception, match="read again"):
        load_dataset(config)


def test_whatever_changes_the_pixels_makes_another_entry(config, tmp_path):
    load_dataset(config)
    config.data.resolution = 16
    assert load_dataset(config).images.shape == (30, 16, 16, 1)
    config.data.labels = False
    assert load_dataset(config).labels is None
    np.savez(tmp_path / "mine.npz", images=IMAGES[:20])
    assert len(load_dataset(config).images) == 20
    assert len(entries(config)) == 4


def test_nothing_half_written_or_bad_is_left(config, monkeypatch, tmp_path):
    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sources, "read_blocks", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_dataset(config)
    np.savez(tmp_path / "mine.npz", images=np.full((4, 8, 8, 1), 7, np.uint8))
    with pytest.raises(DataError, match="only take values from 7 to 7"):
        load_dataset(config)
    assert entries(config) == []


def test_what_killed_processes_left_is_removed_after_a_day(config):
    folder = cache_dir(config.data.cache_dir) / "npz_mine"
    for name, age in ((".partial-old", 2 * 24 * 3600), (".partial-new", 60)):
        (folder / name).mkdir(parents=True)
        os.utime(folder / name, (time.time() - age,) * 2)
    load_dataset(config)
    assert [name for name in entries(config) if name.startswith(".")] == [".partial-new"]


def test_of_two_processes_the_first_one_wins(config, monkeypatch):
    read = sources.read_blocks

    def read_late(*arguments):
        monkeypatch.setattr(sources, "read_blocks", read)
        load_dataset(config)
        yield from read(*arguments)

    monkeypatch.setattr(sources, "read_blocks", read_late)
    assert len(load_dataset(config).images) == 30
    assert len(entries(config)) == 1


def test_a_cache_that_cannot_be_written_says_what_to_do(config, tmp_path, monkeypatch):
    """A full disk is found before the memory map is written, which would end the process."""
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=30 * 8 * 8 - 1))
        with pytest.raises(DataError, match=r"cannot be written \(No space left on device\)"):
            load_dataset(config)
    (tmp_path / "file").write_text("")
    config.data.cache_dir = str(tmp_path / "file")
    with pytest.raises(DataError, match=r"cannot be written \(Not a directory\).*--config.data.cache_dir=PATH"):
        load_dataset(config)


def test_a_damaged_entry_is_named(config):
    load_dataset(config)
    (entry,) = entries(config)
    path = cache_dir(config.data.cache_dir) / "npz_mine" / entry / "images.npy"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=rf"{entry} is damaged .* remove that folder"):
        load_dataset(config)


def test_the_place_comes_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MPCC_JAX_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "mpcc_jax"
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path / "here"))
    assert cache_dir() == tmp_path / "here"
