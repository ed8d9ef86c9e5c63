"""Names of data sets, the order of blocks, and progress."""

import time

import numpy as np
import pytest
from PIL import Image

from mpcc_jax.data import load_dataset
from mpcc_jax.data.dataset import Block, Reader
from mpcc_jax.data.sources import READ_BLOCK, read_blocks
from mpcc_jax.errors import DataError
from tests.conftest import SMALL_IMAGES, tiny_config


def test_an_unknown_name_lists_the_known_ones():
    config = tiny_config()
    config.data.name = "minst"
    with pytest.raises(DataError, match=r"config.data.name is 'minst'; allowed: 'digits', 'mnist', .*'folder:PATH'"):
        load_dataset(config)


def test_blocks_come_in_order_whatever_thread_is_first():
    def read(start, stop):
        time.sleep(0.02 if start == 0 else 0.0)
        return Block(np.full((stop - start, 1, 1, 1), start // READ_BLOCK, np.uint8))

    blocks = list(read_blocks(Reader(3 * READ_BLOCK - 1, 1, read), 3))
    assert [len(block.images) for block in blocks] == [512, 512, 511]
    assert [block.images[0, 0, 0, 0] for block in blocks] == [0, 1, 2]


def test_a_failing_block_stops_the_reading():
    seen = []

    def read(start, stop):
        seen.append(start)
        raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        list(read_blocks(Reader(100 * READ_BLOCK, 1, read), 2))
    assert len(seen) <= 4


def test_progress_is_reported():
    counts = []
    load_dataset(tiny_config(), lambda *numbers: counts.append(numbers))
    assert counts == [(512, 1797), (1024, 1797), (1536, 1797), (1797, 1797)]


@pytest.mark.parametrize("name", ["digits", "folder:photos", "npz:images.npz"])
def test_splits_of_what_has_none_are_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(tmp_path / "photos" / "1.png")
    np.savez("images.npz", images=SMALL_IMAGES)
    config = tiny_config()
    config.data.update({"name": name, "split": "train", "cache": False})
    with pytest.raises(DataError, match=r"config.data.split is 'train', and .* has no splits; allowed: ''"):
        load_dataset(config)
    config.data.split = ""
    load_dataset(config)
