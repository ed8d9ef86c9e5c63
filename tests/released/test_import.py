"""The authors' weights as a run of ours: the golden outputs from a working directory, and every kind of network."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.cli.commands import evaluate, generate, predict
from mpcc_jax.config import CONDITIONINGS
from mpcc_jax.errors import ConfigError, WeightsError, WorkdirError
from mpcc_jax.losses import log_membership
from mpcc_jax.model import discriminate
from mpcc_jax.released.convert import to_complete_released
from mpcc_jax.released.files import ReleasedWeights, write_released
from mpcc_jax.released.runs import import_released
from mpcc_jax.released.settings import guess_data, infer_settings
from mpcc_jax.tensor_files import write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import read_checkpoint
from mpcc_jax.training.state import abstract_state, build_algorithm
from mpcc_jax.workdir import read_run
from tests import golden_data
from tests.conftest import SMALL_IMAGES, layout_of, random_variables, tiny_config
from tests.training.test_train import quiet

ARRAYS, META = golden_data.load("golden_cbn.npz")
NETWORKS = {name: array for name, array in ARRAYS.items() if name[:2] in ("G.", "D.", "E.", "P.")}


def check(key, value):
    """Within 2e-5 x (1 + max|reference|), as tests/golden/README.md suggests."""
    reference = ARRAYS[key]
    tolerance = 2e-5 * (1 + np.abs(reference).max())
    np.testing.assert_allclose(np.reshape(value, reference.shape), reference, rtol=0, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("form", ["the golden file", "pth"])
def test_the_golden_outputs_come_out_of_the_working_directory(tmp_path, form):
    files, lines = tmp_path / "released", []
    files.mkdir()
    if form == "pth":
        pytest.importorskip("torch")
        write_released(files, NETWORKS, ".pth")
        names = "G.pth, D.pth, E.pth, Prior.pth"
    else:
        names = "golden_cbn.npz"
        (files / names).write_bytes((golden_data.GOLDEN / names).read_bytes())
    import_released(files, tmp_path / "run", report=lines.append)
    assert lines == [
        f"read {names}",
        "C = 2, J = 24, K = 10, conditional, images of 32x32x1, shared blocks, unconditional discriminator",
        "data: mnist (told from the shapes; --data_name says otherwise)",
        "there is no G_ema: the moving average starts as a copy of G",
        f"imported as iteration 0: {tmp_path / 'run'}",
    ]

    trained = load(tmp_path / "run", statistics="running")
    assert (trained.iteration, trained.config.variant, trained.image_shape) == (0, "released", (32, 32, 1))
    check("out.G_eval", np.moveaxis(trained.decode(ARRAYS["in.z"], ARRAYS["in.y"]), -1, 1))
    images = np.moveaxis(ARRAYS["in.x"], 1, -1)
    encoding = trained.encode(images)
    check("out.E_mu_eval", encoding.mean)
    check("out.E_lv_eval", encoding.log_var)
    params, buffers, _ = trained.weights
    check("out.D_eval", discriminate(trained.model, params, buffers, images, None, train=False)[0])
    membership = trained.model.prior.membership_mixture(params["prior"])
    check("out.P_logr", log_membership(ARRAYS["in.z"], membership))
    check("out.P_z", trained.prior.sample(jnp.asarray(ARRAYS["in.y"], jnp.int32), ARRAYS["in.eps"]))


@functools.cache
def released_model(conditioning="conditional", share_blocks=True, conditional=False, channels=1):
    """An algorithm of the released variant on 8x8 images."""
    config = tiny_config()
    config.variant = "released"
    config.model.update({"conditioning": conditioning, "share_blocks": share_blocks})
    config.training.conditional = conditional
    return build_algorithm(config, channels)


def random_weights(algorithm, average=True):
    """Random state dicts, complete as the authors' classes save them."""
    params, buffers = random_variables(algorithm.model)
    tensors = to_complete_released(algorithm.model, params, buffers)
    if average:
        tensors |= {"G_ema" + name[1:]: array + 1 for name, array in tensors.items() if name.startswith("G.")}
    return tensors, params, buffers


def assert_equal(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(functools.partial(np.testing.assert_array_equal, strict=True), actual, expected)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize(("share_blocks", "conditional", "channels"), [(True, True, 1), (False, False, 3)])
def test_every_kind_of_network_is_recognised(tmp_path, conditioning, share_blocks, conditional, channels):
    algorithm = released_model(conditioning, share_blocks, conditional, channels)
    tensors, params, buffers = random_weights(algorithm)
    write_tensors(tmp_path / "all.safetensors", tensors)
    import_released(tmp_path / "all.safetensors", tmp_path / "run", data_name="mine", iteration=7, report=[].append)
    config, facts = read_run(tmp_path / "run")
    model = config.model
    assert (model.conditioning, model.share_blocks, config.training.conditional) == (
        conditioning, share_blocks, conditional)  # fmt: skip
    assert (model.channels, model.latent_dim, model.num_clusters, config.data.resolution) == (1, 8, 3, 8)
    assert (config.variant, config.data.name, facts["name"], facts["shape"]) == (
        "released",
        "mine",
        "mine",
        [8, 8, channels],
    )
    stored = read_checkpoint(tmp_path / "run" / "checkpoints" / "7")
    assert_equal(stored["params"], jax.tree.map(np.asarray, params))
    assert_equal(stored["buffers"], jax.tree.map(np.asarray, buffers))
    one_more = jax.tree.map(lambda x: x + 1, {"params": params["generator"], "buffers": buffers["generator"]})
    assert_equal(stored["ema"], jax.tree.map(np.asarray, one_more))


def test_a_whole_state_is_there_with_fresh_optimizers(tmp_path):
    import orbax.checkpoint as ocp

    algorithm = released_model()
    write_tensors(tmp_path / "all.npz", random_weights(algorithm, average=False)[0])
    import_released(tmp_path, tmp_path / "run", iteration=5, report=[].append)
    handler, abstract = ocp.StandardCheckpointHandler(), abstract_state(algorithm, layout_of())
    state = handler.restore(tmp_path / "run/checkpoints/5/state", args=ocp.args.StandardRestore(abstract))
    assert int(state.iteration) == 5
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(state.optimizers))
    jax.tree.map(np.testing.assert_array_equal, state.ema["params"], state.params["generator"])


def test_a_projection_is_told_from_its_spectral_norm_or_by_the_flag():
    """D.embed is stored either way; a layer that never ran has the sv0 it began with."""
    tensors = random_weights(released_model(), average=False)[0]
    assert tensors["D.embed.sv0"] == 1
    files = dict.fromkeys("GDEP", pathlib.Path("all.npz"))
    for given, sigma, expected in ((None, 1, False), (None, 1.5, True), (True, 1, True), (False, 1.5, False)):
        weights = ReleasedWeights({**tensors, "D.embed.sv0": np.full(1, sigma, np.float32)}, files)
        assert infer_settings(weights, given)[0]["training.conditional"] is expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (("conditional", 10, 1), "mnist"),
        (("conditional", 100, 1), "omniglot100"),
        (("shared", 10, 1), "fashion_mnist"),
        (("split", 10, 3), "cifar10"),
        (("split", 20, 3), "cifar20"),
    ],
)
def test_the_papers_data_sets_are_told_apart(kind, name):
    assert guess_data(*kind) == name


def test_other_data_has_to_be_named():
    with pytest.raises(ConfigError, match="3 image channels, K = 7 and 'split'; say it by --data_name"):
        guess_data("split", 7, 3)


def put(name, shape, value=0):
    return lambda given: given.update({name: np.full(shape, value, np.float32)})


def remove(prefix):
    return lambda given: [given.pop(name) for name in list(given) if name.startswith(prefix)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda given: given.pop("P.mu_c"), r"P\.mu_c \(3, 8\) is missing \(in .*all\.npz\)"),
        (put("P.mu_c", (3,)), r"P\.mu_c is \(3,\); expected \(3, 8\)"),
        (put("G.linear.weight", (65, 8)), r"G\.linear\.weight is \(65, 8\); expected \(64, 8\)"),
        (put("G.linear.weight", (128, 8)), r"G\.linear\.weight is \(128, 8\); expected \(64, 8\)"),
        (put("G.output_layer.2.weight", (3, 4, 3, 3)), r"2\.weight is \(3, 4, 3, 3\); expected \(1, 4, 3, 3\)"),
        (put("D.linear.bias", (1,), np.inf), r"D\.linear\.bias has 1 values that are NaN or infinite"),
        (put("G.shared.weight", (3, 8)), r"G\.shared\.weight does not belong there"),
        (remove("G.blocks"), "has 0 blocks; allowed: 1"),
        (remove("P."), r"no name in it begins with P\."),
        (
            lambda given: given.update({f"P.{name}": given["P.phi_c"][:0] for name in ("mu_c", "lv_c", "phi_c")}),
            "K is told",
        ),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, damage, message):
    tensors = random_weights(released_model())[0]
    damage(tensors)
    write_tensors(tmp_path / "all.npz", tensors)
    with pytest.raises(WeightsError, match=message):
        import_released(tmp_path, tmp_path / "run", report=[].append)
    assert not (tmp_path / "run").exists()


def test_a_missing_table_of_a_shared_generator_is_named(tmp_path):
    tensors = random_weights(released_model("shared"))[0]
    del tensors["G.shared.weight"]
    write_tensors(tmp_path / "all.npz", tensors)
    with pytest.raises(WeightsError, match=r"G\.shared\.weight \(3, 8\) is missing"):
        import_released(tmp_path, tmp_path / "run", report=[].append)


def test_wrong_arguments_are_refused(tmp_path):
    write_tensors(tmp_path / "all.npz", random_weights(released_model())[0])
    config = tiny_config()
    config.num_seeds = 2
    with pytest.raises(ConfigError, match=r"--iteration is 0 and config\.num_seeds 2; allowed: 0 or more, and 1"):
        import_released(tmp_path, tmp_path / "run", config)
    with pytest.raises(ConfigError, match="--iteration is -1"):
        import_released(tmp_path, tmp_path / "run", iteration=-1)
    with pytest.raises(WorkdirError, match=r"--workdir is .* which is not empty"):
        import_released(tmp_path, tmp_path)


def test_the_commands_work_on_it(tmp_path):
    np.savez(tmp_path / "images.npz", images=SMALL_IMAGES, labels=np.arange(20) % 2)
    write_tensors(tmp_path / "all.safetensors", random_weights(released_model())[0])
    lines, config = [], tiny_config()
    config.data.update({"name": f"npz:{tmp_path / 'images.npz'}", "cache": False})
    config.model.channels = 5  # the files know better
    config.evaluation.standing_passes = 2
    run = import_released(tmp_path / "all.safetensors", tmp_path / "run", config, report=lines.append)
    assert lines[2].startswith("data: npz:")
    assert "until iteration 2 further training makes the moving average a copy of G" in lines[3]
    facts = json.loads((run / "data.json").read_text())
    assert (facts["name"], facts["count"], facts["range"]) == ("npz:images", None, None)
    scores = evaluate(run, quiet(), {"inception": "none"}, batch_size=8)
    assert sum(scores["cluster_sizes"]) == 20
    assert predict(run, str(tmp_path / "images.npz"), display=quiet(), batch_size=8).exists()
    assert generate(run, 8, display=quiet(), batch_size=8).exists()
