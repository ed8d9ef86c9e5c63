"""Files of tensors: written and read back to the bit, and refused when they are damaged."""

import pickle
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest

from mpcc_jax.errors import WeightsError
from mpcc_jax.tensor_files import ENDINGS, read_tensors, write_tensors

RNG = np.random.default_rng(0)
# A transposed array, whose memory does not lie as its indices go, and numbers that a text would lose.
TENSORS = {
    "weight": RNG.normal(size=(3, 4)).astype(np.float32).T,
    "sv0": np.asarray([-0.0], np.float32),
    "tiny": np.asarray([np.finfo(np.float32).smallest_subnormal, np.finfo(np.float32).max]),
    "count": np.asarray([2**31 - 1], np.int32),
}


def path_of(folder, ending):
    if ending == ".pth":
        pytest.importorskip("torch")
    return folder / f"G{ending}"


@pytest.mark.parametrize("ending", ENDINGS)
def test_tensors_come_back_to_the_bit(tmp_path, ending):
    path = path_of(tmp_path, ending)
    write_tensors(path, TENSORS)
    stored = read_tensors(path)
    assert stored.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert stored[name].dtype == array.dtype
        assert stored[name].shape == array.shape
        assert stored[name].tobytes() == array.tobytes()


def test_safetensors_hold_bfloat16_and_can_be_read_by_everyone(tmp_path):
    array = np.arange(5, dtype=ml_dtypes.bfloat16)
    write_tensors(tmp_path / "one.safetensors", {"a": array})
    (tmp_path / "other").touch()
    assert (tmp_path / "one.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    stored = read_tensors(tmp_path / "one.safetensors")["a"]
    assert stored.dtype == array.dtype
    np.testing.assert_array_equal(stored, array)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("damage", ["cut off", "text", "empty", "gone"])
def test_a_damaged_file_is_named(tmp_path, ending, damage):
    path = path_of(tmp_path, ending)
    write_tensors(path, TENSORS)
    content = path.read_bytes()
    path.write_bytes({"cut off": content[:-50], "text": b"hello", "empty": b"", "gone": b""}[damage])
    if damage == "gone":
        path.unlink()
    with pytest.raises(WeightsError, match=rf"G\{ending} is (damaged|not there)"):
        read_tensors(path)


@pytest.mark.parametrize("ending", [".npz", ".pth"])
def test_one_flipped_bit_is_seen(tmp_path, ending):
    path = path_of(tmp_path, ending)
    write_tensors(path, TENSORS)
    content = bytearray(path.read_bytes())
    content[content.index(TENSORS["count"].tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="is damaged"):
        read_tensors(path)


def test_nothing_is_unpickled(tmp_path):
    with zipfile.ZipFile(tmp_path / "G.npz", "w") as file:
        file.writestr("a", pickle.dumps(print))
    np.savez(tmp_path / "D.npz", a=np.asarray([print]))
    for name in ("G", "D"):
        with pytest.raises(WeightsError, match=rf"{name}\.npz is damaged or "):
            read_tensors(tmp_path / f"{name}.npz")


@pytest.mark.parametrize("content", [{"state": {"lr": 2}}, [1], {"weight": print}])
def test_pth_of_something_else_is_refused(tmp_path, content):
    torch = pytest.importorskip("torch")
    torch.save(content, tmp_path / "G.pth")
    with pytest.raises(WeightsError, match=r"G\.pth"):
        read_tensors(tmp_path / "G.pth")


def test_pth_of_old_versions_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    state = {"weight": torch.arange(3.0), "gain": torch.nn.Parameter(torch.ones(2))}
    torch.save(state, tmp_path / "G.pth", _use_new_zipfile_serialization=False)
    stored = read_tensors(tmp_path / "G.pth")
    np.testing.assert_array_equal(stored["weight"], [0, 1, 2])
    np.testing.assert_array_equal(stored["gain"], [1, 1])


@pytest.mark.parametrize("work", [read_tensors, lambda path: write_tensors(path, TENSORS)])
def test_pth_without_torch_says_what_to_install(tmp_path, monkeypatch, work):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "G.pth").write_bytes(b"anything")
    with pytest.raises(WeightsError, match=r"G\.pth needs PyTorch.* pip install torch"):
        work(tmp_path / "G.pth")


def test_other_endings_and_places_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"G\.bin: allowed endings are \.npz, \.safetensors, \.pth"):
        read_tensors(tmp_path / "G.bin")
    for ending in (".npz", ".safetensors"):
        with pytest.raises(WeightsError, match="cannot be written"):
            write_tensors(tmp_path / "none" / f"G{ending}", TENSORS)
