"""FID, KID and IS of a trained model: the way from generator to figures, with a cheap stand-in for Inception."""

import contextlib

import jax
import numpy as np
import pytest

from mpcc_jax.errors import DataError, InputError, WeightsError
from mpcc_jax.evaluation import generation
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.evaluation.fid import frechet_distance
from mpcc_jax.evaluation.inception_weights import InceptionWeights
from mpcc_jax.evaluation.reference import read_reference
from tests.conftest import SMALL_IMAGES
from tests.trained import tiny_dataset, tiny_trained, trained_config

PROJECTION = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)
CALLS, SAID, PROGRESS = [], [], []


def cheap_features(weights, images, resize, progress=None):
    batches = [images] if hasattr(images, "shape") else list(images)
    CALLS.append(sum(map(len, batches)))
    features = np.concatenate(batches).reshape(-1, 64).astype(np.float32) / 255 @ PROJECTION
    return features, features


@contextlib.contextmanager
def record_progress(what):
    yield lambda done, total: PROGRESS.append((what, done, total))


@pytest.fixture
def cheap(monkeypatch, tmp_path):
    for record in (CALLS, SAID, PROGRESS):
        record.clear()
    monkeypatch.delenv("MPCC_JAX_INCEPTION", raising=False)
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(generation, "extract_features", cheap_features)
    monkeypatch.setattr(generation, "find_weights", lambda path, cache: path or "cached")
    monkeypatch.setattr(generation, "read_weights", lambda path: InceptionWeights({}, str(path), "ab" * 32, False))
    return tmp_path


def measure(**options):
    trained = tiny_trained()
    measurement = generation.plan_measurement(trained, SAID.append, **options)
    return measurement and generation.measure(measurement, trained, tiny_dataset(), SAID.append, record_progress)


def measure_statistics(**options):
    return generation.measure_statistics(trained_config(), tiny_dataset(), SAID.append, record_progress, **options)


def test_figures_are_those_of_the_generated_images(cheap):
    trained = tiny_trained()
    scores = measure(num_samples=21)
    batches = [trained.generate(jax.random.fold_in(jax.random.key(0), index), 8) for index in range(3)]
    generated, _ = cheap_features(None, to_uint8(np.concatenate(batches)[:21]), None)
    real, _ = cheap_features(None, SMALL_IMAGES, None)
    moments = [(features.mean(0), np.cov(features, rowvar=False)) for features in (generated, real)]
    np.testing.assert_allclose(scores["fid"], frechet_distance(*moments[0], *moments[1]), rtol=1e-4)
    assert scores["kid"]["subset_size"] == 20
    protocol = scores["protocol"]
    assert (protocol["num_samples"], protocol["reference"]["count"]) == (21, 20)
    assert protocol["network_sha256"] == protocol["reference"]["network_sha256"] == "ab" * 32
    assert protocol["batch_norm_statistics"] == "standing"
    assert protocol["resize"] == protocol["reference"]["resize"] == "tf1"
    assert protocol["reference"]["name"] == "small"
    assert [("Inception on generated images", done, 21) for done in (8, 16, 21)] == PROGRESS
    assert [sentence.split(" is too high")[0] for sentence in SAID] == [
        "FID from features of the reference of 20 images",
        "FID from features of the generated images of 21 images",
    ]


def test_a_reference_is_measured_once(cheap):
    first = measure(num_samples=24)
    assert measure(num_samples=24) == first
    assert CALLS == [20, 24, 24]
    measure(num_samples=24, resize="pytorch_fid")
    assert CALLS[3:] == [20, 24], "another resize needs statistics of its own"


def test_statistics_are_found_by_evaluation(cheap):
    _, path = measure_statistics()
    assert path.parent == cheap / "statistics"
    measure(num_samples=24)
    _, own = measure_statistics(out=cheap / "own.npz")
    np.testing.assert_array_equal(read_reference(own).mean, read_reference(path).mean)
    assert CALLS == [20, 24], "they were in the cache"
    with pytest.raises(InputError, match=r"ends in \.npz"):
        measure_statistics(out="own.pkl")


def test_published_statistics(cheap):
    features, _ = cheap_features(None, SMALL_IMAGES, None)
    np.savez(cheap / "fid_stats.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    scores = measure(num_samples=24, reference=cheap / "fid_stats.npz")
    np.testing.assert_allclose(scores["fid"], measure(num_samples=24)["fid"], rtol=1e-5)
    assert scores["kid"] is None
    assert scores["protocol"]["reference"]["count"] is None


def test_without_weights_the_rest_goes_on_unless_they_were_asked_for(monkeypatch, tmp_path):
    SAID.clear()
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("MPCC_JAX_INCEPTION", raising=False)
    assert measure() is None
    assert str(tmp_path / "pt_inception-2015-12-05-6726825d.pth") in SAID[0]
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        measure(inception=str(tmp_path / "nowhere.pth"))
    monkeypatch.setenv("MPCC_JAX_INCEPTION", str(tmp_path / "absent.pth"))
    with pytest.raises(WeightsError, match=r"absent\.pth"):
        measure()
    assert measure(inception="none") is None


def test_what_cannot_be_measured_is_refused_before_anything_is_generated(cheap):
    _, path = measure_statistics()
    CALLS.clear()
    for error, message, options in (
        (InputError, "num_samples is 19", {"num_samples": 19}),
        (DataError, "missing.npz", {"reference": cheap / "missing.npz"}),
        (DataError, "resize=pytorch_fid", {"reference": path, "resize": "pytorch_fid"}),
    ):
        with pytest.raises(error, match=message):
            generation.plan_measurement(tiny_trained(), SAID.append, **options)
    assert CALLS == []
