"""The authors' files: which one is which, what is in it, and what is refused, by name."""

import numpy as np
import pytest

from mpcc_jax.errors import WeightsError
from mpcc_jax.released.convert import released_shapes
from mpcc_jax.released.files import check_released, read_released, write_released
from mpcc_jax.tensor_files import read_tensors, write_tensors
from tests import golden_data
from tests.conftest import tiny_algorithm

SHAPES = released_shapes(tiny_algorithm().model)
GENERATOR = [name for name in SHAPES if name.startswith("G.")]


def tensors(average=False):
    rng = np.random.default_rng(0)
    shapes = {**SHAPES, **{"G_ema" + name[1:]: SHAPES[name] for name in GENERATOR if average}}
    return {name: rng.uniform(0.5, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
def test_networks_are_found_by_name_whatever_the_suffix(tmp_path, ending):
    write_released(tmp_path, tensors(average=True), ending)
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["D", "E", "G", "G_ema", "Prior"]
    for name in ("G", "D", "E", "Prior", "G_ema"):
        (tmp_path / f"{name}{ending}").rename(tmp_path / f"{name}_best0{ending}")
    # What else lies in such a folder.
    for name in ("G_optim_best0.pth", "Prior_optim.pth", "metalog.txt", "state_dict.pth"):
        (tmp_path / name).write_text("not looked at")
    weights = read_released(tmp_path)
    assert_same(weights.tensors, tensors(average=True))
    assert weights.files["G"].name == f"G_best0{ending}"
    assert weights.files["G_ema"].name == f"G_ema_best0{ending}"
    assert weights.files["P"].name == f"Prior_best0{ending}"
    check_released(weights, SHAPES)


def test_files_are_named_and_filled_as_theirs(tmp_path):
    write_released(tmp_path, tensors(), ".npz")
    assert set(read_tensors(tmp_path / "Prior.npz")) == {"mu_c", "lv_c", "phi_c"}
    assert "blocks.0.0.bn1.gain.weight" in read_tensors(tmp_path / "G.npz")
    assert not (tmp_path / "G_ema.npz").exists()
    assert "G_ema" not in read_released(tmp_path).files


@pytest.mark.parametrize("ending", [".npz", ".safetensors"])
@pytest.mark.parametrize("average", [False, True])
def test_one_file_for_all(tmp_path, ending, average):
    path = tmp_path / f"weights{ending}"
    write_tensors(path, {**tensors(average), "out.G_eval": np.zeros(3), "meta": np.zeros(1)})
    for where in (tmp_path, path):
        weights = read_released(where)
        assert_same(weights.tensors, tensors(average))
        assert set(weights.files) == {"G", "D", "E", "P", "G_ema"} - ({"G_ema"} if not average else set())
    golden = read_released(golden_data.GOLDEN / "golden_cbn.npz")
    assert len(golden.tensors) == sum(
        name[:2] in ("G.", "D.", "E.", "P.") for name in golden_data.load("golden_cbn.npz")[0]
    )


def test_the_prefix_of_parallel_modules_is_dropped(tmp_path):
    write_released(tmp_path, tensors(), ".npz")
    own = read_tensors(tmp_path / "G.npz")
    write_tensors(tmp_path / "G.npz", {f"module.{name}": array for name, array in own.items()})
    assert_same(read_released(tmp_path).tensors, tensors())
    write_tensors(tmp_path / "G.npz", {**own, "module.linear.bias": own["linear.bias"]})
    with pytest.raises(WeightsError, match=r"G\.npz has G\.linear\.bias twice"):
        read_released(tmp_path)


def test_none_or_several_files_for_a_network_are_named(tmp_path):
    with pytest.raises(WeightsError, match=r"are none for G, none for D, none for E, none for Prior\. "):
        read_released(tmp_path)
    write_released(tmp_path, tensors(average=True), ".npz")
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


def change(name, array):
    return lambda given: given.update({name: array})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda given: given.pop("D.linear.u0"), r"D\.linear\.u0 \(1, 1\) is missing \(in .*D\.npz\)"),
        (lambda given: given.pop("E.blocks.1.0.conv1.bias"), r"E\.blocks\.1\.0\.conv1\.bias \(4,\) is missing"),
        (lambda given: given.pop("D.embed.sv0"), r"D\.embed\.sv0 \(1,\) is missing \(in .*D\.npz\)"),
        (lambda given: given.pop("G_ema.linear.bias"), r"G_ema\.linear\.bias \(64,\) is missing \(in .*G_ema\.npz\)"),
        (change("E.attention", np.zeros(2)), r"E\.attention does not belong there \(in .*E\.npz\)"),
        (
            change("G.linear.weight", np.zeros((8, 64), np.float32)),
            r"G\.linear\.weight is \(8, 64\); expected \(64, 8\)",
        ),
        (change("P.phi_c", np.zeros(4, np.float32)), r"P\.phi_c is \(4,\); expected \(3,\) \(in .*Prior\.npz\)"),
        (change("P.mu_c", np.zeros((3, 8))), r"P\.mu_c is float64; expected float32"),
        (change("P.lv_c", np.full((3, 8), np.nan, np.float32)), r"P\.lv_c has 24 values that are NaN or infinite"),
        (change("G.output_layer.0.stored_var", np.full(4, -1, np.float32)), "has negative variances, down to -1"),
    ],
)
def test_damaged_state_dicts_are_refused_by_tensor_and_file(tmp_path, damage, message):
    given = tensors(average=True)
    damage(given)
    write_released(tmp_path, given, ".npz")
    with pytest.raises(WeightsError, match=message):
        check_released(read_released(tmp_path), SHAPES)


def test_what_computes_nothing_may_be_absent_as_a_whole(tmp_path):
    given = {
        name: array for name, array in tensors().items() if not name.startswith(("E.blocks.", "D.embed.", "P.phi"))
    }
    write_released(tmp_path, given, ".npz")
    check_released(read_released(tmp_path), SHAPES)


def test_many_problems_are_counted(tmp_path):
    write_released(tmp_path, tensors(), ".npz")
    write_tensors(tmp_path / "G.npz", {"linear.weight": np.zeros((64, 8), np.float32)})
    with pytest.raises(WeightsError, match=rf"; and {len(GENERATOR) - 1 - 5} more\.$"):
        check_released(read_released(tmp_path), SHAPES)
