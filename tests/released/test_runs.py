"""The authors' weights as a run of ours, and back: the golden outputs, every name and every bit."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.errors import ConfigError, WeightsError, WorkdirError
from mpcc_jax.losses import log_membership
from mpcc_jax.model import discriminate
from mpcc_jax.released import export_released, import_released
from mpcc_jax.released.convert import released_shapes, to_complete_released
from mpcc_jax.released.files import read_released, write_released
from mpcc_jax.tensor_files import read_tensors, write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import read_checkpoint
from mpcc_jax.training.state import assemble_state, build_algorithm
from tests import golden_data
from tests.conftest import random_variables, tiny_config
from tests.trained import make_run

ARRAYS, META = golden_data.load("golden_cbn.npz")
NETWORKS = {name: array for name, array in ARRAYS.items() if name[:2] in ("G.", "D.", "E.", "P.")}


def check(key, value):
    """Within 2e-5 x (1 + max|reference|), as tests/golden/README.md suggests."""
    reference = ARRAYS[key]
    tolerance = 2e-5 * (1 + np.abs(reference).max())
    np.testing.assert_allclose(np.reshape(value, reference.shape), reference, rtol=0, atol=tolerance, err_msg=key)


def fail(warning):
    pytest.fail(warning)


def released_config(conditioning="conditional", share_blocks=True, conditional=False):
    config = tiny_config()
    config.variant = "released"
    config.model.update({"conditioning": conditioning, "share_blocks": share_blocks})
    config.training.conditional = conditional
    return config


def random_weights(config, channels=1, average=True):
    """Random tensors, complete as the authors' classes save them; params and buffers."""
    model = build_algorithm(config, channels).model
    params, buffers = random_variables(model)
    tensors = to_complete_released(model, params, buffers)
    if average:
        tensors |= {"G_ema" + name[1:]: array + 1 for name, array in tensors.items() if name.startswith("G.")}
    return tensors, params, buffers


def make_released_run(folder, config, seeds=1):
    """A run of ours whose moving average is not its generator."""
    config.num_seeds = seeds
    algorithm = build_algorithm(config, 1)
    state = assemble_state(algorithm, *random_variables(algorithm.model))
    state = state.replace(ema=jax.tree.map(lambda x: x + 1, state.ema))
    if seeds > 1:
        state = jax.tree.map(lambda x: np.stack([x + seed for seed in range(seeds)]), state)
    return make_run(folder, config, {6: state})


def assert_equal(actual, expected):
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), actual, expected)


def test_the_golden_outputs_come_out_of_the_imported_run(tmp_path):
    config = golden_data.released_config(META)
    run = import_released(golden_data.GOLDEN / "golden_cbn.npz", tmp_path / "run", config, warn=fail)
    trained = load(run, statistics="running")
    assert (trained.iteration, trained.config.variant, trained.image_shape) == (0, "released", (32, 32, 1))
    check("out.G_eval", np.moveaxis(trained.decode(ARRAYS["in.z"], ARRAYS["in.y"]), -1, 1))
    images = np.moveaxis(ARRAYS["in.x"], 1, -1)
    encoding = trained.encode(images)
    check("out.E_mu_eval", encoding.mean)
    check("out.E_lv_eval", encoding.log_var)
    params, buffers, _ = trained.weights
    check("out.D_eval", discriminate(trained.model, params, buffers, images, None, train=False)[0])
    check("out.P_logr", log_membership(ARRAYS["in.z"], trained.model.prior.membership_mixture(params["prior"])))
    check("out.P_z", trained.prior.sample(jnp.asarray(ARRAYS["in.y"], jnp.int32), ARRAYS["in.eps"]))


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pth"])
def test_their_files_come_back_to_the_bit(tmp_path, ending):
    """The golden tensors hold all that their classes save, D.embed and P.phi_c included, which compute nothing."""
    if ending == "pth":
        pytest.importorskip("torch")
    tensors = NETWORKS | {"G_ema" + name[1:]: array * 2 for name, array in NETWORKS.items() if name.startswith("G.")}
    (tmp_path / "in").mkdir()
    write_released(tmp_path / "in", tensors, f".{ending}")
    run = import_released(tmp_path / "in", tmp_path / "run", golden_data.released_config(META), 1000, warn=fail)
    exported = read_released(export_released(run, tmp_path / "out", ending, warn=fail))
    assert exported.keys() == tensors.keys()
    for name, array in tensors.items():
        assert exported[name].tobytes() == array.tobytes(), name
        assert (exported[name].shape, exported[name].dtype) == (array.shape, array.dtype)


@pytest.mark.parametrize(("conditioning", "share_blocks"), [("split", True), ("shared", False)])
def test_our_runs_come_back_to_the_bit(tmp_path, conditioning, share_blocks):
    config = released_config(conditioning, share_blocks)
    run = make_released_run(tmp_path / "run", config)
    out = export_released(run, tmp_path / "out", warn=fail)
    tensors, shapes = read_released(out), released_shapes(load(run).model)
    average = {"G_ema" + name[1:]: shape for name, shape in shapes.items() if name.startswith("G.")}
    assert {name: array.shape for name, array in tensors.items()} == {**shapes, **average}
    np.testing.assert_array_equal(tensors["P.phi_c"], np.full(3, 1 / 3, np.float32))
    before, after = load(run), load(import_released(out, tmp_path / "back", config, iteration=6))
    assert_equal(after.weights, before.weights)
    assert after.iteration == 6


@pytest.mark.parametrize(
    ("conditioning", "share_blocks", "conditional", "channels"),
    [("split", True, True, 1), ("shared", False, False, 3)],
)
def test_every_kind_of_network_is_imported(tmp_path, conditioning, share_blocks, conditional, channels):
    config = released_config(conditioning, share_blocks, conditional)
    tensors, params, buffers = random_weights(config, channels)
    write_tensors(tmp_path / "all.safetensors", tensors)
    run = import_released(tmp_path / "all.safetensors", tmp_path / "run", config, iteration=7, warn=fail)
    facts = json.loads((run / "data.json").read_text())
    assert (facts["name"], facts["shape"], facts["count"]) == ("digits", [8, 8, channels], None)
    one_more = jax.tree.map(lambda x: x + 1, {"params": params["generator"], "buffers": buffers["generator"]})
    stored = read_checkpoint(run / "checkpoints" / "7")
    assert_equal(stored, jax.tree.map(np.asarray, {"params": params, "buffers": buffers, "ema": one_more}))


def test_what_shapes_do_not_say_is_warned_of(tmp_path):
    config = released_config()
    tensors = random_weights(config)[0] | {"D.embed.sv0": np.full(1, 1.5, np.float32)}
    config.variant = "paper"
    write_tensors(tmp_path / "all.npz", tensors)
    warnings = []
    import_released(tmp_path / "all.npz", tmp_path / "run", config, warn=warnings.append)
    parts = ("config.training.conditional True", "config.variant is 'paper'", "until iteration 2 further training")
    assert len(warnings) == 3
    assert all(part in warning for part, warning in zip(parts, warnings, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"P.mu_c": np.zeros((3, 7), np.float32)},
            r"P\.mu_c is \(3, 7\); expected \(3, 8\).* config\.model\.latent_dim",
        ),
        ({"G.output_layer.2.bias": np.zeros(2, np.float32)}, "has 2 values; allowed: 1 or 3, the image channels"),
        ({"E.blocks.0.0.conv1.bias": np.zeros(4, np.float32)}, r"differs from D\..* config\.model\.share_blocks False"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, changes, message):
    write_tensors(tmp_path / "all.npz", random_weights(released_config())[0] | changes)
    with pytest.raises(WeightsError, match=message):
        import_released(tmp_path / "all.npz", tmp_path / "run", released_config(), 5)
    assert not (tmp_path / "run").exists()


def test_what_computes_nothing_may_be_missing(tmp_path):
    unused = ("E.blocks.", "D.embed.", "P.phi_c", "G_ema.")
    tensors = {
        name: array for name, array in random_weights(released_config())[0].items() if not name.startswith(unused)
    }
    write_tensors(tmp_path / "all.npz", tensors)
    weights = load(import_released(tmp_path, tmp_path / "run", released_config(), warn=fail)).weights
    assert_equal(weights.ema, {"params": weights.params["generator"], "buffers": weights.buffers["generator"]})


def test_wrong_arguments_are_refused(tmp_path):
    config = released_config()
    with pytest.raises(ConfigError, match="--iteration is -1"):
        import_released(tmp_path, tmp_path / "run", config, iteration=-1)
    write_tensors(tmp_path / "all.npz", random_weights(config)[0])
    with pytest.raises(WorkdirError, match=r"--workdir is .* which is not empty"):
        import_released(tmp_path, tmp_path, config)
    config.num_seeds = 2
    with pytest.raises(ConfigError, match=r"--iteration is 0 and config\.num_seeds 2; allowed: 0 or more, and 1"):
        import_released(tmp_path, tmp_path / "run", config)


def test_one_seed_and_one_checkpoint_of_a_run(tmp_path):
    run = make_released_run(tmp_path / "run", released_config(), seeds=2)
    for seed in (0, 1):
        export_released(run, tmp_path / f"{seed}", seed=seed, iteration=6)
    first, second = (read_tensors(tmp_path / f"{seed}" / "Prior.npz")["mu_c"] for seed in (0, 1))
    np.testing.assert_array_equal(second, first + 1)


def test_runs_that_the_authors_code_cannot_hold_or_reads_in_another_way(tmp_path):
    run, warnings = make_released_run(tmp_path / "paper", tiny_config()), []
    with pytest.raises(WorkdirError, match=r"--out is .* which is not empty"):
        export_released(run, tmp_path)
    export_released(run, tmp_path / "out", warn=warnings.append)
    assert "config.variant 'paper'" in warnings[0]
    config = tiny_config()
    config.prior.family, config.model.num_clusters = "standard_normal", 1
    run = make_released_run(tmp_path / "normal", config)
    with pytest.raises(ConfigError, match=r"config\.prior\.family 'standard_normal'; allowed: 'gaussian'"):
        export_released(run, tmp_path / "none")
    assert not (tmp_path / "none").exists()
