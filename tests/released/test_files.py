"""The authors' files: which one is which, what is in it, and what is refused, by name."""

import numpy as np
import pytest

from mpcc_jax.errors import WeightsError
from mpcc_jax.released.convert import released_shapes
from mpcc_jax.released.files import read_released, write_released
from mpcc_jax.tensor_files import read_tensors, write_tensors
from tests import golden_data
from tests.conftest import tiny_algorithm

SHAPES = released_shapes(tiny_algorithm().model)


def make_tensors(average=False):
    rng = np.random.default_rng(0)
    generator = [name for name in SHAPES if name.startswith("G.") and average]
    shapes = {**SHAPES, **{"G_ema" + name[1:]: SHAPES[name] for name in generator}}
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)


def test_networks_are_found_by_name_whatever_the_suffix(tmp_path):
    write_released(tmp_path, make_tensors(average=True), ".npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["D.npz", "E.npz", "G.npz", "G_ema.npz", "Prior.npz"]
    assert set(read_tensors(tmp_path / "Prior.npz")) == {"mu_c", "lv_c", "phi_c"}
    for name in ("G", "D", "E", "Prior", "G_ema"):
        (tmp_path / f"{name}.npz").rename(tmp_path / f"{name}_best0.npz")
    for name in ("G_optim_best0.pth", "Prior_optim.pth", "metalog.txt", "state_dict.pth"):
        (tmp_path / name).write_text("not read")
    assert_same(read_released(tmp_path), make_tensors(average=True))


@pytest.mark.parametrize(("ending", "average"), [(".npz", False), (".safetensors", True)])
def test_one_file_for_all(tmp_path, ending, average):
    path = tmp_path / f"weights{ending}"
    write_tensors(path, {**make_tensors(average), "out.G_eval": np.zeros(3), "meta": np.zeros(1)})
    for location in (tmp_path, path):
        assert_same(read_released(location), make_tensors(average))


def test_the_golden_file_is_one_for_all():
    arrays, _ = golden_data.load("golden_cbn.npz")
    networks = {name: array for name, array in arrays.items() if name[:2] in ("G.", "D.", "E.", "P.")}
    assert_same(read_released(golden_data.GOLDEN / "golden_cbn.npz"), networks)


def test_the_prefix_of_parallel_modules_is_dropped(tmp_path):
    write_released(tmp_path, make_tensors(), ".npz")
    own = read_tensors(tmp_path / "G.npz")
    write_tensors(tmp_path / "G.npz", {f"module.{name}": array for name, array in own.items()})
    assert_same(read_released(tmp_path), make_tensors())
    write_tensors(tmp_path / "G.npz", {**own, "module.linear.bias": own["linear.bias"]})
    with pytest.raises(WeightsError, match=r"G\.npz has G\.linear\.bias twice"):
        read_released(tmp_path)


def test_none_or_several_files_for_a_network_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"are none for G, none for D, none for E, none for Prior\. "):
        read_released(tmp_path)
    write_released(tmp_path, make_tensors(average=True), ".npz")
    (tmp_path / "E.npz").rename(tmp_path / "encoder.npz")
    for copy in ("G_copy0.pth", "G_ema_copy0.safetensors"):
        (tmp_path / copy).touch()
    with pytest.raises(WeightsError) as error:
        read_released(tmp_path)
    assert "there are 2 for G (G.npz, G_copy0.pth), none for E, 2 for G_ema (G_ema.npz, G_ema_copy0" in str(error.value)
    with pytest.raises(WeightsError, match="nothing is there"):
        read_released(tmp_path / "none")


def test_one_file_without_all_networks_says_which(tmp_path):
    write_tensors(tmp_path / "G.npz", {"linear.weight": np.zeros(3), "D.x": np.zeros(2)})
    with pytest.raises(WeightsError, match=r"G\.npz is the only file, and no name in it begins with G\., E\., P\.;"):
        read_released(tmp_path)
    (tmp_path / "G.npz").write_bytes(b"PK")
    with pytest.raises(WeightsError, match=r"G\.npz is damaged"):
        read_released(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("P.mu_c", np.zeros((3, 8)), r"P\.mu_c is float64; expected float32 \(in .*Prior\.npz\)"),
        ("P.lv_c", np.full((3, 8), np.nan, np.float32), r"P\.lv_c has 24 values that are NaN or infinite"),
        ("G.output_layer.0.stored_var", np.full(4, -1, np.float32), "has negative variances, down to -1"),
    ],
)
def test_values_that_cannot_be_are_refused_by_tensor_and_file(tmp_path, name, array, message):
    write_released(tmp_path, {**make_tensors(), name: array}, ".npz")
    with pytest.raises(WeightsError, match=message):
        read_released(tmp_path)
