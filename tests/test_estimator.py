"""The scikit-learn estimator: scikit-learn's own checks, what X means, and the training it stands for."""

import pickle
import pickletools

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.utils import estimator_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from configs import digits
from mpcc_jax import MPCC
from mpcc_jax.config import flatten
from mpcc_jax.data import load_dataset
from mpcc_jax.data.images import fit_array
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.errors import ConfigError, DataError, InputError
from mpcc_jax.estimator import make_config
from mpcc_jax.evaluation.encode import _compiled_encoder
from mpcc_jax.training.loop import iterate
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import build_algorithm, init_state, split_seed
from mpcc_jax.training.steps import compile_train_iterations

# One program for all: K, which some of scikit-learn's checks set, is fixed by `config`, and there is one network size.
TINY = {
    "iterations": 2,
    "channels": 1,
    "latent_dim": 2,
    "batch_size": 4,
    "resolution": 8,
    "config": {"model.num_clusters": 3, "training.iterations_per_call": 2},
}
EXPECTED_FAILURES = {"check_clustering": "two iterations find no blobs, and MPCC may leave clusters empty"}
DIGITS = load_digits()


def tiny(**parameters):
    return MPCC(**{**TINY, "random_state": 0, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return tiny(random_state=1).fit(DIGITS.data)


@parametrize_with_checks(
    [tiny(pad_features=True)], expected_failed_checks=lambda _: EXPECTED_FAILURES, xfail_strict=True
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def test_scikit_learn_checks_that_are_not_run_for_all():
    for name in ("set_output_transform", "transformer_get_feature_names_out", "get_feature_names_out_error"):
        getattr(estimator_checks, f"check_{name}")("MPCC", tiny(pad_features=True))


def test_rows_and_images_are_those_that_a_run_trains_on(fitted):
    images = load_dataset(digits.get_config()).images
    for X in (DIGITS.data, DIGITS.images, DIGITS.images[..., None], DIGITS.images.tolist()):
        np.testing.assert_array_equal(fitted._images(X), images)
    assert (fitted.n_features_in_, fitted.image_shape_, fitted.pixel_range_) == (64, (8, 8, 1), (0, 16))
    again = clone(fitted)
    np.testing.assert_array_equal(again.fit_predict(DIGITS.images), fitted.labels_)
    for name in ("labels_", "n_features_in_", "image_shape_", "pixel_range_"):
        np.testing.assert_array_equal(getattr(again, name), getattr(fitted, name))
    np.testing.assert_array_equal(again.transform(DIGITS.data), fitted.transform(DIGITS.images))


def test_methods_are_those_of_the_model(fitted):
    images = load_dataset(digits.get_config()).images
    np.testing.assert_array_equal(fitted.labels_, fitted.model_.predict(images))
    np.testing.assert_array_equal(fitted.labels_, fitted.predict_proba(DIGITS.data).argmax(axis=1))
    np.testing.assert_array_equal(fitted.score_samples(DIGITS.data), fitted.model_.log_prob(images))
    assert list(fitted.get_feature_names_out()) == ["mpcc0", "mpcc1"]
    assert set(fitted.labels_) <= {0, 1, 2}
    assert fitted.n_iter_ == 2


def test_fit_is_training_by_the_functional_api(fitted):
    config = make_config({**MPCC().get_params(), **TINY}, 8)
    algorithm, layout, keys = build_algorithm(config, 1), make_layout(config, jax.devices()[:1]), split_seed(1)
    loader = DeviceLoader(load_dataset(digits.get_config()).images, None, [keys.data], 1, 4, layout)
    state = init_state(algorithm, layout.replicate_keys(keys.init), layout)
    program, noise_key = compile_train_iterations(algorithm, layout), layout.replicate_keys(keys.noise)
    ((state, _, _),) = iterate(program, loader, noise_key, state, 0, 2, 2)
    for part in ("params", "buffers", "ema"):
        jax.tree.map(np.testing.assert_array_equal, getattr(fitted.model_.weights, part), getattr(state, part))
    assert fitted.model_.seed == 1


def test_the_defaults_are_those_of_the_demo():
    configs = make_config(MPCC().get_params(), 8), digits.get_config()
    ours, demo = (flatten(config.to_dict()) for config in configs)
    assert {name for name in demo if ours[name] != demo[name]} == {"data.name", "mesh.devices"}


@pytest.mark.parametrize(("side", "resolution"), [(2, 8), (8, 8), (9, 16), (28, 32), (150, 128)])
def test_the_networks_are_the_smallest_that_are_not_smaller_than_the_images(side, resolution):
    assert make_config(MPCC().get_params(), side).data.resolution == resolution


def test_fits_share_compiled_programs(fitted):
    layout = make_layout(fitted.model_.config, jax.local_devices()[:1])
    program = compile_train_iterations(build_algorithm(fitted.model_.config, 1), layout)
    encoder = _compiled_encoder(fitted.model_.model)
    other = tiny(random_state=8).fit(DIGITS.data[:50])
    assert other.model_.model is fitted.model_.model
    assert (program._cache_size(), encoder._cache_size()) == (1, 1)
    assert not np.array_equal(other.transform(DIGITS.data), fitted.transform(DIGITS.data))


def test_bytes_mean_0_to_255_and_other_numbers_are_clipped():
    images = np.random.default_rng(0).integers(50, 200, (10, 8, 8)).astype(np.uint8)
    estimator = tiny().fit(images)
    assert estimator.pixel_range_ == (0, 255)
    np.testing.assert_array_equal(estimator._images(images)[..., 0], images)
    np.testing.assert_array_equal(estimator._images(images.astype(float)), estimator._images(images))
    with pytest.warns(UserWarning, match="100% of it is clipped"):
        assert estimator._images(images[:1] * 1000.0).min() == 255
    with pytest.warns(UserWarning, match="that of fit went from 0 to 255"):
        assert estimator._images(-1.0 * images[:1]).max() == 0
    with pytest.warns(UserWarning, match="X goes from 0.196078 to 0.78"):
        estimator._images(images / 255)


def test_outliers_that_stretch_the_range_are_said():
    rows = np.random.default_rng(0).uniform(0, 1, (40, 64))
    rows[3, 5] = 1e6
    with pytest.warns(UserWarning, match="most pixels look alike; clip the outliers"):
        tiny().fit(rows)


def test_a_failed_fit_leaves_what_was_fitted(fitted):
    before, latents = dict(vars(fitted)), fitted.transform(DIGITS.data[:5])
    for X in (np.zeros((20, 64)), np.ones((20, 7)), np.full((20, 64), np.nan)):
        with pytest.raises(ValueError):
            fitted.fit(X)
        assert vars(fitted) == before
    np.testing.assert_array_equal(fitted.transform(DIGITS.data[:5]), latents)


@pytest.mark.parametrize("shape", [(64, 48, 3), (8, 8, 1), (8, 8, 4)])
def test_one_image_is_not_taken_for_many(shape):
    with pytest.raises(DataError, match=r"may be one image or many. One image \[H, W, C\] is images\[None\]"):
        tiny().fit(np.random.default_rng(0).uniform(size=shape))


def test_images_of_another_size_are_cropped_and_resized():
    images = np.random.default_rng(0).integers(0, 256, (10, 12, 10, 1)).astype(np.uint8)
    estimator = tiny(image_shape=(12, 10)).fit(images.reshape(10, 120))
    direct = np.stack([fit_array(image, 8) for image in images])
    np.testing.assert_array_equal(estimator.labels_, estimator.model_.predict(direct))
    np.testing.assert_array_equal(estimator.transform(images), estimator.model_.transform(direct))
    with pytest.raises(InputError, match="images are 12x10; allowed: square ones"):
        estimator.sample()


def test_samples_are_generated_images_in_the_shape_and_range_of_x(fitted):
    rows, clusters = fitted.sample(5)
    assert rows.shape == (5, 64)
    assert clusters.shape == (5,)
    _, key = jax.random.split(split_seed(1).evaluation)
    np.testing.assert_allclose(rows.reshape(5, 8, 8, 1) / 8 - 1, fitted.model_.generate(key, 5), atol=1e-6)
    np.testing.assert_array_equal(fitted.sample(5)[0], rows)
    estimator = tiny(pad_features=True).fit(DIGITS.data[:20, 20:23])
    rows, clusters = estimator.sample(4, cluster=2)
    assert rows.shape == (4, 3)
    assert (clusters == 2).all()
    assert estimator.pixel_range_[0] <= rows.min() < rows.max() <= estimator.pixel_range_[1]


def test_a_pickle_holds_numpy_arrays_and_says_the_same(fitted):
    payload = pickle.dumps(fitted)
    texts = [str(argument) for _, argument, _ in pickletools.genops(payload) if isinstance(argument, str)]
    assert any(text.startswith("numpy") for text in texts)
    assert not [text for text in texts if text.startswith(("jax", "flax", "ml_collections"))]
    again = pickle.loads(payload)
    np.testing.assert_array_equal(again.predict_proba(DIGITS.data), fitted.predict_proba(DIGITS.data))
    np.testing.assert_array_equal(again.sample(3)[0], fitted.sample(3)[0])


def test_random_state_is_a_seed_or_draws_one(capsys):
    X = DIGITS.data[:10]
    assert tiny(random_state=2**32 - 1, verbose=True).fit(X).model_.seed == 2**32 - 1
    assert "[MPCC] iteration 2 of 2: " in capsys.readouterr().out
    generator = np.random.RandomState(0)
    seeds = [tiny(random_state=generator).fit(X).model_.seed for _ in range(2)]
    assert seeds == np.random.RandomState(0).randint(2**31 - 1, size=2).tolist()


WRONG = [
    ({"n_clusters": 0}, None, ConfigError, "^n_clusters is 0; allowed: a whole number, at least 1"),
    ({"n_clusters": True}, None, ConfigError, "^n_clusters is True; allowed: a value of type int"),
    ({"n_clusters": "10"}, None, ConfigError, "^n_clusters is '10'; allowed: a value of type int"),
    ({"iterations": None}, None, ConfigError, "^iterations is None; allowed: a value of type int"),
    ({"batch_size": 50}, np.eye(20, 64), ConfigError, "^batch_size is 50; allowed: at most 20, the number of images"),
    ({"resolution": 9}, None, ConfigError, "^resolution is 9; allowed: 8, 16"),
    ({"config": {"loss.adversariel": "hinge"}}, None, ConfigError, "config has 'loss.adversariel'.*loss.adversarial"),
    ({"config": {"logging.every": 3}}, None, ConfigError, "config has 'logging.every'; allowed: fields"),
    ({"config": {"model.channels": 0}}, None, ConfigError, r"^config\.model\.channels is 0"),
    ({"config": "hinge"}, None, ConfigError, "config is 'hinge'; allowed: a dictionary"),
    ({"config": {"conventions.upsampling": 2}}, None, ConfigError, "config.*is 2; allowed: a value of type str"),
    ({"config": {"training.conditional": True}}, None, ConfigError, "training.conditional is True; .* no labels"),
    ({}, np.eye(20, 30), DataError, "X has 30 features, which is no square number; .*image_shape=.*pad_features="),
    ({"image_shape": 8}, None, InputError, r"^image_shape is 8; allowed: \(H, W\), or \(H, W, C\) with C 1 or 3"),
    ({"image_shape": (5, 7)}, np.eye(20, 30), DataError, r"image_shape is \(5, 7\), and X holds rows of 30 features"),
    ({"image_shape": (6, 5)}, np.eye(20, 30).reshape(20, 5, 6), DataError, r"X holds images of shape \(5, 6, 1\)"),
    ({}, np.ones((20, 64)), DataError, "X goes from 1 to 1; allowed: more than one value"),
    ({}, np.eye(20, 64, dtype=np.uint8), DataError, "only take values from 0 to 1; allowed: uint8 spread"),
    ({}, np.eye(20, 192).reshape(20, 3, 8, 8), DataError, "allowed: .* C = 1 or 3. Channels come last"),
]


@pytest.mark.parametrize(("parameters", "X", "error", "message"), WRONG)
def test_what_is_wrong_is_said_before_anything_is_compiled(monkeypatch, parameters, X, error, message):
    monkeypatch.setattr(MPCC, "_train", lambda *_: pytest.fail("it trains"))
    with pytest.raises(error, match=message):
        MPCC(**parameters).fit(DIGITS.data if X is None else X)
    assert issubclass(error, ValueError)


def test_other_images_than_those_of_fit_are_refused(fitted):
    with pytest.raises(InputError, match=r"X holds images of shape \(4, 16, 1\); allowed: \(8, 8, 1\)"):
        fitted.predict(DIGITS.images.reshape(-1, 4, 16))
    with pytest.raises(ValueError, match="X has 63 features, but MPCC is expecting 64 features"):
        fitted.predict(DIGITS.data[:, 1:])


def test_an_estimator_that_is_not_fitted_says_so():
    with pytest.raises(NotFittedError):
        MPCC().predict(DIGITS.data)
    with pytest.raises(NotFittedError):
        MPCC().sample()


def test_several_starts_keep_the_one_that_selection_chooses():
    several = tiny(n_init=2, random_state=1).fit(DIGITS.data)
    assert [entry["seed"] for entry in several.selection_] == [1, 2]
    chosen = max(several.selection_, key=lambda entry: (entry["rank"], entry["silhouette"]))["seed"]
    alone = tiny(random_state=chosen).fit(DIGITS.data)
    np.testing.assert_array_equal(several.labels_, alone.labels_)
    np.testing.assert_array_equal(several.transform(DIGITS.data), alone.transform(DIGITS.data))


def test_seeds_of_the_starts_do_not_wrap():
    with pytest.raises(ConfigError, match="n_init is 2; allowed: seeds up to 4294967295, and the first is 4294967295"):
        tiny(n_init=2, random_state=2**32 - 1).fit(DIGITS.data)


@pytest.mark.parametrize("n_init", [0, True, 1.5])
def test_a_wrong_number_of_starts_is_refused(n_init):
    with pytest.raises(ConfigError, match=r"n_init is .*; allowed: a whole number, at least 1"):
        tiny(n_init=n_init).fit(DIGITS.data)
