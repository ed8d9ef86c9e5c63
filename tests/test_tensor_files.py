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


@pytest.fixture(params=ENDINGS)
def path(request, tmp_path):
    if request.param == ".pth":
        pytest.importorskip("torch")
    path = tmp_path / f"G{request.param}"
    write_tensors(path, TENSORS)
    return path


def test_tensors_come_back_to_the_bit(path):
    stored = read_tensors(path)
    assert stored.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert (stored[name].dtype, stored[name].shape) == (array.dtype, array.shape)
        assert stored[name].tobytes() == array.tobytes()


def test_safetensors_hold_bfloat16_and_can_be_read_by_everyone(tmp_path):
    array = np.arange(5, dtype=ml_dtypes.bfloat16)
    write_tensors(tmp_path / "one.safetensors", {"a": array})
    (tmp_path / "other").touch()
    assert (tmp_path / "one.safetensors").stat().st_mode == (tmp_path / "other").stat().st_mode
    np.testing.assert_array_equal(read_tensors(tmp_path / "one.safetensors")["a"], array, strict=True)


def test_a_damaged_or_missing_file_is_named(path):
    content = path.read_bytes()
    for damaged in (content[:-50], b"hello", b""):
        path.write_bytes(damaged)
        with pytest.raises(WeightsError, match=rf"{path.name} is damaged"):
            read_tensors(path)
    path.unlink()
    with pytest.raises(WeightsError, match=rf"{path.name} is not there"):
        read_tensors(path)
    path.mkdir()
    with pytest.raises(WeightsError, match=rf"{path.name} (cannot be read|is damaged)"):
        read_tensors(path)


def test_one_flipped_bit_is_seen(path):
    if path.suffix == ".safetensors":
        pytest.skip("safetensors have no checksums")
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


def test_pth_of_something_else_is_refused(tmp_path):
    torch = pytest.importorskip("torch")
    for content in ({"state": {"lr": 2}}, [1], {"weight": print}):
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


def test_pth_without_torch_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "G.pth").write_bytes(b"anything")
    for work in (read_tensors, lambda path: write_tensors(path, TENSORS)):
        with pytest.raises(WeightsError, match=r"G\.pth needs PyTorch.* pip install torch"):
            work(tmp_path / "G.pth")


def test_other_endings_and_places_are_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"G\.bin: allowed endings are \.npz, \.safetensors, \.pth"):
        read_tensors(tmp_path / "G.bin")
    for ending in (".npz", ".safetensors"):
        with pytest.raises(WeightsError, match="cannot be written"):
            write_tensors(tmp_path / "none" / f"G{ending}", TENSORS)
