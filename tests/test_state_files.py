"""A training state in small files: every bit comes back, and what is damaged is named."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.state_files import INDEX, MAX_BYTES, StateFilesError, is_exported, paths_of, read_state, write_state
from mpcc_jax.tensor_files import TensorFileError, read_tensors
from tests.trained import tiny_state

ABOUT = {"config": {"seed": 3}, "data": {"name": "digits"}}


def some_state(seeds=1):
    """A state in which no two arrays are equal."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        shape = (seeds, *leaf.shape) if seeds > 1 else leaf.shape
        if jnp.issubdtype(leaf.dtype, jnp.integer):
            return np.asarray(rng.integers(2**24, 2**31, shape), leaf.dtype)
        return np.asarray(rng.normal(size=shape), leaf.dtype)

    state = jax.tree.map(fill, tiny_state())
    return state.replace(iteration=np.full(np.shape(state.iteration), 2**24 + 1, np.int32))


def write(folder, **options):
    folder.mkdir(exist_ok=True)
    state = options.pop("state", None) or some_state()
    return state, write_state(folder, state, 2**24 + 1, ABOUT, **options)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("max_bytes", [MAX_BYTES, 20_000, 3000])
def test_every_bit_comes_back_whatever_the_size_of_the_files(tmp_path, seeds, max_bytes):
    state, paths = write(tmp_path / "out", state=some_state(seeds), max_bytes=max_bytes)
    arrays = paths_of(state)
    total = sum(array.nbytes for array in arrays.values())
    assert all(path.stat().st_size <= max_bytes for path in paths)
    assert max(1, total / max_bytes) <= len(paths) == len(list((tmp_path / "out").glob("*.safetensors")))
    exported = read_state(tmp_path / "out")
    assert (exported.iteration, exported.config) == (2**24 + 1, {"seed": 3})
    assert exported.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert exported.arrays[name].shape == array.shape
        assert exported.arrays[name].dtype == array.dtype
        assert exported.arrays[name].tobytes() == array.tobytes(), name


def test_only_arrays_that_no_file_can_hold_are_cut(tmp_path):
    _, paths = write(tmp_path / "out", max_bytes=3000)
    tensors = json.loads((tmp_path / "out" / INDEX).read_text())["tensors"]
    for name, facts in tensors.items():
        cut = 4 * np.prod(facts["shape"]) + 1024 + 128 + len(name) > 3000
        assert (len(facts["files"]) > 1) == cut, name
    assert any(len(facts["files"]) > 1 for facts in tensors.values())
    # A reader without our code: safetensors, and concatenation.
    name = "params/generator/linear/kernel"
    pieces = [read_tensors(tmp_path / "out" / file)[name] for file in tensors[name]["files"]]
    whole = np.concatenate(pieces).reshape(tensors[name]["shape"])
    np.testing.assert_array_equal(whole, some_state().params["generator"]["linear"]["kernel"])
    assert len(paths) > 3


def test_bfloat16_halves_the_files_and_keeps_integers(tmp_path):
    state, paths = write(tmp_path / "full")
    _, halves = write(tmp_path / "half", dtype="bfloat16")
    (full,), (half,) = ([path.stat().st_size for path in some] for some in (paths, halves))
    floats = sum(array.nbytes for array in paths_of(state).values() if array.dtype == np.float32)
    assert full - half == pytest.approx(floats / 2, abs=1000)
    exported = read_state(tmp_path / "half").arrays
    for name, array in paths_of(state).items():
        if array.dtype == np.int32:
            np.testing.assert_array_equal(exported[name], array, strict=True)
        else:
            np.testing.assert_array_equal(exported[name], np.asarray(jnp.asarray(array, jnp.bfloat16)), strict=True)
            np.testing.assert_allclose(exported[name].astype(np.float32), array, rtol=2**-8)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


SECOND = "state-00002.safetensors"


def overwrite(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def edit_index(edit):
    def damage(folder):
        index = json.loads((folder / INDEX).read_text())
        edit(index)
        (folder / INDEX).write_text(json.dumps(index))

    return damage


FIRST, SECOND = "state-00001.safetensors", "state-00002.safetensors"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / SECOND).unlink(), rf"{SECOND} is missing or cannot be read"),
        (lambda folder: flip(folder / SECOND), rf"{SECOND} is damaged or of another export: it has \d+ bytes"),
        (overwrite(SECOND, b""), rf"{SECOND} is damaged or of another export: it has 0 bytes"),
        (lambda folder: (folder / FIRST).rename(folder / SECOND), rf"{FIRST} is missing"),
        (lambda folder: (folder / INDEX).unlink(), r"state\.json is missing or damaged"),
        (overwrite(INDEX, b'{"kind": '), r"state\.json is missing or damaged"),
        (overwrite(INDEX, b"[]"), r"state\.json is None; expected \('training state of mpcc_jax', 1\)"),
        (edit_index(lambda index: index.update(format=2)), r"state\.json is .* 2\); expected"),
        (edit_index(lambda index: index.update(iteration=5)), "iteration is 5 there and"),
        (edit_index(lambda index: index.pop("files")), r"state\.json does not fit the files beside it"),
        (edit_index(lambda index: index["files"].pop(SECOND)), r"state\.json does not fit the files beside it"),
        (edit_index(lambda index: index["tensors"]["iteration"].update(shape=[7])), "does not fit the files"),
    ],
)
def test_what_is_missing_damaged_or_foreign_is_named(tmp_path, damage, message):
    write(tmp_path / "out", max_bytes=20_000)
    damage(tmp_path / "out")
    assert is_exported(tmp_path / "out")
    with pytest.raises(StateFilesError, match=message):
        read_state(tmp_path / "out")


def test_other_folders_are_none_of_ours(tmp_path):
    assert not is_exported(tmp_path)
    assert not is_exported(tmp_path / "none")


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(TensorFileError, match=r"state-00001\.safetensors cannot be written"):
        write_state(tmp_path / "none", some_state(), 1, ABOUT)
