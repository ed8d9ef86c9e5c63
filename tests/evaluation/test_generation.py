"""FID, KID and IS of a trained model: the way from generator to figures, with a cheap stand-in for Inception."""

import io

import jax
import numpy as np
import pytest
from rich.console import Console

from mpcc_jax.console import Display
from mpcc_jax.errors import DataError, InputError, WeightsError
from mpcc_jax.evaluation import generation
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.evaluation.fid import frechet_distance
from mpcc_jax.evaluation.inception_weights import InceptionWeights
from mpcc_jax.evaluation.reference import load
from tests.conftest import SMALL_IMAGES
from tests.trained import tiny_dataset, tiny_trained, trained_config

PROJECTION = np.random.default_rng(0).normal(size=(64, 12)).astype(np.float32)
CALLS = []


def cheap_features(weights, images, resize, report=lambda done, total: None):
    batches = [images] if hasattr(images, "shape") else list(images)
    CALLS.append(sum(map(len, batches)))
    features = np.concatenate(batches).reshape(-1, 64).astype(np.float32) / 255 @ PROJECTION
    return features, features


@pytest.fixture
def cheap(monkeypatch, tmp_path):
    CALLS.clear()
    monkeypatch.delenv("MPCC_JAX_INCEPTION", raising=False)
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path))
    monkeypatch.setattr(generation, "extract_features", cheap_features)
    monkeypatch.setattr(generation, "find_weights", lambda path, cache: path or "cached")
    monkeypatch.setattr(generation, "read_weights", lambda path: InceptionWeights({}, str(path), "ab" * 32, False))
    return tmp_path


def measure(display, **options):
    trained = tiny_trained()
    measurement = generation.plan_measurement(trained, display, **options)
    return measurement and generation.measure(measurement, trained, tiny_dataset(), display)


def make_display():
    return Display(Console(file=io.StringIO(), width=1000))


def test_figures_are_those_of_the_generated_images(cheap):
    trained, display = tiny_trained(), make_display()
    scores = measure(display, num_samples=21)
    batches = [trained.generate(jax.random.fold_in(jax.random.key(0), index), 8) for index in range(3)]
    generated, _ = cheap_features(None, to_uint8(np.concatenate(batches)[:21]), None)
    real, _ = cheap_features(None, SMALL_IMAGES, None)
    moments = [(one.mean(0), np.cov(one, rowvar=False)) for one in (generated, real)]
    expected = frechet_distance(*moments[0], *moments[1])
    np.testing.assert_allclose(scores["fid"], expected, rtol=1e-4)
    assert scores["kid"]["subset_size"] == 20
    protocol = scores["protocol"]
    assert (protocol["num_samples"], protocol["reference"]["count"]) == (21, 20)
    assert protocol["network_sha256"] == protocol["reference"]["network_sha256"] == "ab" * 32
    assert protocol["batch_norm_statistics"] == "standing"
    assert protocol["generator"] == "moving average of the weights"
    assert protocol["resize"] == protocol["reference"]["resize"] == "tf1"
    assert protocol["reference"]["name"] == "small"
    assert "warning" in display.console.file.getvalue(), "21 samples are few"


def test_a_reference_is_measured_once(cheap):
    display = make_display()
    first = measure(display, num_samples=24)
    again = measure(display, num_samples=24)
    assert first == again
    assert CALLS == [20, 24, 24]
    measure(display, num_samples=24, resize="pytorch_fid")
    assert CALLS[3:] == [20, 24], "another resize needs statistics of its own"


def test_statistics_are_found_by_evaluation(cheap):
    config = trained_config()
    _, path = generation.measure_statistics(config, tiny_dataset(), make_display())
    assert path.parent == cheap / "statistics"
    measure(make_display(), num_samples=24)
    assert CALLS == [20, 24]
    _, own = generation.measure_statistics(config, tiny_dataset(), make_display(), out=cheap / "own.npz")
    np.testing.assert_array_equal(load(own).mean, load(path).mean)
    assert CALLS == [20, 24], "they were in the cache"


def test_published_statistics(cheap):
    features, _ = cheap_features(None, SMALL_IMAGES, None)
    np.savez(cheap / "fid_stats.npz", mu=features.mean(0), sigma=np.cov(features, rowvar=False))
    options = {"num_samples": 24, "reference": cheap / "fid_stats.npz"}
    scores = measure(make_display(), **options)
    own = measure(make_display(), num_samples=24)
    np.testing.assert_allclose(scores["fid"], own["fid"], rtol=1e-5)
    assert scores["kid"] is None
    assert scores["protocol"]["reference"]["count"] is None


def test_without_weights_the_rest_goes_on_unless_they_were_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("MPCC_JAX_CACHE", str(tmp_path))
    monkeypatch.delenv("MPCC_JAX_INCEPTION", raising=False)
    display = make_display()
    assert measure(display) is None
    said = display.console.file.getvalue()
    assert str(tmp_path / "pt_inception-2015-12-05-6726825d.pth") in said
    assert "--inception=download" in said
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        measure(display, inception=str(tmp_path / "nowhere.pth"))
    monkeypatch.setenv("MPCC_JAX_INCEPTION", str(tmp_path / "absent.pth"))
    with pytest.raises(WeightsError, match=r"absent\.pth"):
        measure(display)
    assert measure(display, inception="none") is None


def test_too_few_samples(cheap):
    with pytest.raises(InputError, match="num_samples is 19"):
        measure(make_display(), num_samples=19)
    with pytest.raises(DataError):
        measure(make_display(), num_samples=24, resize="tf1",
                           reference=cheap / "missing.npz")  # fmt: skip


def test_what_cannot_be_compared_is_refused_before_anything_is_generated(cheap):
    _, path = generation.measure_statistics(trained_config(), tiny_dataset(), make_display())
    CALLS.clear()
    with pytest.raises(DataError, match="resize=pytorch_fid"):
        generation.plan_measurement(tiny_trained(), make_display(), reference=path, resize="pytorch_fid")
    assert CALLS == []
