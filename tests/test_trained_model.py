"""A trained model against the networks called directly, and what it refuses."""

import json
import shutil

import jax
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

import mpcc_jax
from mpcc_jax.data.loader import to_float
from mpcc_jax.errors import CheckpointError, ConfigError, DataError, InputError, WorkdirError
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate
from mpcc_jax.trained_model import load
from mpcc_jax.workdir import check_same_run
from tests.conftest import SMALL_IMAGES, assert_trees_close
from tests.trained import make_run, tiny_state, tiny_trained, trained_config


@pytest.fixture(scope="module")
def trained():
    return tiny_trained()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    later = tiny_state().replace(params=jax.tree.map(lambda x: x + 1, tiny_state().params))
    return make_run(tmp_path_factory.mktemp("runs") / "run", states={2: tiny_state(), 4: later})


def decode_directly(z, y, buffers, *, train=False):
    params = {"generator": tiny_state().ema["params"]}
    return generate(tiny_trained().model, params, {"generator": buffers}, z, y, train=train)[0]


def test_predictions_are_those_of_the_networks(trained):
    state, model = tiny_state(), trained.model
    (mean, _), _ = encode(model, state.params, state.buffers, to_float(SMALL_IMAGES), train=False)
    memberships = np.exp(log_membership(mean, model.prior.membership_mixture(state.params["prior"])))
    np.testing.assert_allclose(trained.transform(SMALL_IMAGES), mean, atol=1e-5)
    np.testing.assert_allclose(trained.predict_proba(SMALL_IMAGES), memberships, atol=1e-5)
    np.testing.assert_array_equal(trained.predict(SMALL_IMAGES), memberships.argmax(-1))


def test_density_is_that_of_the_prior(trained):
    prior = trained.prior
    z = trained.transform(SMALL_IMAGES[:5])
    components = [
        multivariate_normal(mean, np.diag(np.exp(log_var))).logpdf(z)
        for mean, log_var in zip(np.asarray(prior.mean, float), np.asarray(prior.log_var, float), strict=True)
    ]
    np.testing.assert_allclose(trained.log_prob(SMALL_IMAGES[:5]), logsumexp(components, axis=0) - np.log(3), rtol=1e-4)


@pytest.mark.parametrize("images", [SMALL_IMAGES[:7], SMALL_IMAGES[:8], SMALL_IMAGES.astype(np.float64) / 127.5 - 1.0])
def test_any_number_of_bytes_or_floats(trained, images):
    expected = trained.transform(SMALL_IMAGES)[: len(images)]
    np.testing.assert_allclose(trained.transform(images), expected, atol=1e-5)


def test_generated_images_are_decoded_latents(trained):
    z, y = trained.draw(3, 5)
    np.testing.assert_array_equal(trained.generate(jax.random.key(3), 5), trained.decode(z, y))
    np.testing.assert_allclose(trained.decode(z, y), decode_directly(z, y, trained._generator_buffers), atol=1e-5)


def test_truncation_goes_to_the_means(trained):
    z, y = trained.draw(0, 50, truncation=0.0)
    np.testing.assert_array_equal(z, np.asarray(trained.prior.mean)[y])
    half, whole = (trained.draw(0, 50, truncation=factor)[0] - z for factor in (0.5, 1.0))
    np.testing.assert_allclose(2 * half, whole, atol=1e-5)
    np.testing.assert_array_equal(trained.draw(0, 4, cluster=2)[1], [2] * 4)
    np.testing.assert_array_equal(trained.draw(0, 3, cluster=[2, 0, 1])[1], [2, 0, 1])


def test_reconstruction_and_interpolation_decode_means_by_the_likeliest_component(trained):
    z, y = trained.transform(SMALL_IMAGES), trained.predict(SMALL_IMAGES)
    reconstructed = trained.reconstruct(SMALL_IMAGES)
    np.testing.assert_allclose(reconstructed, trained.decode(z, y), atol=1e-6)
    np.testing.assert_allclose(trained.decode(z), reconstructed, atol=1e-6)
    path = trained.interpolate(SMALL_IMAGES[:3], SMALL_IMAGES[3:6], 4)
    assert path.shape == (3, 4, 8, 8, 1)
    np.testing.assert_allclose(path[:, 0], reconstructed[:3], atol=1e-4)
    np.testing.assert_allclose(path[:, -1], reconstructed[3:6], atol=1e-4)
    np.testing.assert_allclose(path[:, 1], trained.decode(z[:3] * 2 / 3 + z[3:6] / 3), atol=1e-4)


def test_statistics_of_the_generator():
    z, y = tiny_trained().draw(0, 8)
    images = {name: tiny_trained(statistics=name).decode(z, y) for name in ("standing", "running", "batch")}
    for name, train in (("running", False), ("batch", True)):
        expected = decode_directly(z, y, tiny_state().ema["buffers"], train=train)
        np.testing.assert_allclose(images[name], expected, atol=1e-5)
    assert np.abs(images["standing"] - images["running"]).max() > 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.predict(np.zeros((2, 8, 8, 3), np.uint8)), "3 channels; allowed: 1"),
        (lambda model: model.generate(0, 0), "n is 0"),
        (lambda model: model.generate(0, 2, cluster=3), "cluster is 3; allowed: 0 to 2"),
        (lambda model: model.generate(0, 2, cluster=-1), "cluster is -1"),
        (lambda model: model.generate(0, 2, cluster=[0, 1, 2]), "one integer, or 2 of them"),
        (lambda model: model.generate(0, 2, truncation=-1.0), "truncation is -1.0"),
        (lambda model: model.interpolate(SMALL_IMAGES[:2], SMALL_IMAGES[:3], 4), "as many in both"),
        (lambda model: model.interpolate(SMALL_IMAGES[:2], SMALL_IMAGES[:2], 1), "steps is 1"),
        (lambda model: model.decode(np.zeros((2, 3))), "z has shape"),
        (lambda _: tiny_trained(statistics="best"), "statistics is 'best'"),
        (lambda _: tiny_trained(batch_size=0), "batch_size is 0"),
    ],
)
def test_arguments_that_cannot_work(trained, call, message):
    with pytest.raises((InputError, DataError), match=message):
        call(trained)


def test_loading_takes_the_newest_checkpoint_or_the_one_asked_for(run):
    newest, first = mpcc_jax.load(run), load(run, iteration=2)
    assert (newest.iteration, first.iteration) == (4, 2)
    assert_trees_close(first.weights.params, tiny_state().params, rtol=0)
    assert_trees_close(newest.weights.params, jax.tree.map(lambda x: x + 1, tiny_state().params), rtol=0)


def test_a_second_model_of_the_same_configuration_compiles_nothing(run, caplog):
    models = [load(run, iteration, statistics="running", batch_size=7) for iteration in (2, 4)]
    with jax.log_compiles():
        for model in models:
            first_compilations = caplog.text.count("Compiling")
            model.predict(SMALL_IMAGES)
            model.generate(0, 8)
            model.reconstruct(SMALL_IMAGES)
    assert first_compilations > 0
    assert caplog.text.count("Compiling") == first_compilations


def test_a_damaged_checkpoint_gives_way_to_the_one_before(run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    for path in (copy / "checkpoints" / "4").rglob("*"):
        if path.is_file():
            path.write_bytes(b"x")
    warnings = []
    assert load(copy, warn=warnings.append).iteration == 2
    assert len(warnings) == 1
    assert "checkpoints/4 cannot be read" in warnings[0]
    with pytest.raises(CheckpointError, match="none of the checkpoints"):
        load(copy, iteration=4, warn=warnings.append)


def test_runs_that_cannot_be_loaded(run, tmp_path):
    with pytest.raises(WorkdirError, match="holds no run"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=r"no checkpoint of iteration 3; there are \[2, 4\]"):
        load(run, iteration=3)
    with pytest.raises(ConfigError, match=r"seed is 5; allowed: .*\[0\]"):
        load(run, seed=5)
    empty = tmp_path / "empty"
    shutil.copytree(run, empty, ignore=shutil.ignore_patterns("checkpoints"))
    with pytest.raises(CheckpointError, match="no checkpoint yet"):
        load(empty)
    settings = json.loads((empty / "config.json").read_text())
    (empty / "config.json").write_text(json.dumps({**settings, "wings": 2}))
    with pytest.raises(ConfigError, match="not of this version"):
        load(empty)
    facts = json.loads((empty / "data.json").read_text())
    assert facts["format"] == 1
    (empty / "data.json").write_text(json.dumps({**facts, "format": 2}))
    with pytest.raises(WorkdirError, match="is of format 2, and this version of mpcc_jax reads format 1"):
        load(empty)
    with pytest.raises(WorkdirError, match="is of format 2"):
        check_same_run(empty, trained_config(), override=True)


def test_a_session_in_float64_predicts_as_others_do(run):
    expected = load(run)
    with jax.enable_x64(True):
        trained = load(run)
        for images in (SMALL_IMAGES, SMALL_IMAGES / 127.5 - 1):
            np.testing.assert_allclose(trained.transform(images), expected.transform(SMALL_IMAGES), rtol=1e-6)
        np.testing.assert_array_equal(trained.generate(3, 5), expected.generate(3, 5))
        np.testing.assert_array_equal(trained.reconstruct(SMALL_IMAGES), expected.reconstruct(SMALL_IMAGES))


@pytest.mark.parametrize("key", [-1, 2**32])
def test_keys_that_wrap_are_refused(trained, key):
    with pytest.raises(InputError, match=f"key is {key}; allowed: a key of jax, or a seed from 0 to 4294967295"):
        trained.draw(key, 1)


def test_one_seed_of_several(tmp_path):
    config = trained_config()
    config.update({"seed": 5, "num_seeds": 2})
    other = jax.tree.map(lambda x: x + 1, tiny_state())
    run = make_run(tmp_path / "run", config, {4: jax.tree.map(lambda *leaves: np.stack(leaves), tiny_state(), other)})
    loaded = load(run, seed=6)
    assert loaded.seed == 6
    assert_trees_close(loaded.weights.params, other.params, rtol=0)
    with pytest.raises(ConfigError, match=r"seed is None; allowed: .*\[5, 6\]"):
        load(run)
