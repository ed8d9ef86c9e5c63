"""Batching and rounding, with a small function in the place of the network, which has a test of its own."""

import jax
import numpy as np
import pytest

from mpcc_jax.data.loader import to_float
from mpcc_jax.evaluation import features
from mpcc_jax.evaluation.features import extract_features, extraction_protocol, to_uint8
from mpcc_jax.evaluation.inception_weights import InceptionWeights

WEIGHTS = InceptionWeights({"scale": np.float32(2)}, "small.npz", "ab" * 32, published=False)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3)).astype(np.uint8)


@pytest.fixture
def traces(monkeypatch):
    """Shapes that the stand-in was compiled for."""
    seen = []

    def network(params, images):
        seen.append(images.shape)
        return params["scale"] * images[:, :4, 0, 0], images[:, 150, 200]

    monkeypatch.setattr(features, "prepare", lambda params: params)
    program = jax.jit(network)
    monkeypatch.setattr(features, "_network", lambda: program)
    return seen


def expected_of(images, resize="tf1"):
    resized = np.asarray(features.RESIZES[resize](images))
    return 2 * resized[:, :4, 0, 0], resized[:, 150, 200]


@pytest.mark.parametrize("resize", features.RESIZES)
@pytest.mark.parametrize("batch_size", [2, 7, 10])
def test_batches_are_padded_and_cut(traces, resize, batch_size):
    results = extract_features(WEIGHTS, IMAGES, resize, batch_size)
    for actual, expected in zip(results, expected_of(IMAGES, resize), strict=True):
        assert actual.dtype == np.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert traces == [(batch_size, 299, 299, 3)]


def test_one_program_serves_all_calls(traces):
    extract_features(WEIGHTS, IMAGES, batch_size=3)
    extract_features(WEIGHTS, IMAGES[:1], batch_size=3)
    extract_features(WEIGHTS, IMAGES[..., :1], "pytorch_fid", batch_size=3)
    assert traces == [(3, 299, 299, 3)]


@pytest.mark.parametrize("cuts", [[1, 2, 6], [4], [], [7]])
def test_iterables_of_any_lengths_are_regrouped(traces, cuts):
    reports = []
    pieces = [piece for piece in np.split(IMAGES, cuts) if len(piece)]
    results = extract_features(WEIGHTS, iter(pieces), batch_size=3, report=lambda *counts: reports.append(counts))
    for actual, expected in zip(results, expected_of(IMAGES), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)
    assert reports == [(3, None), (6, None), (7, None)]
    assert len(traces) == 1


def test_progress_of_an_array_has_a_total(traces):
    reports = []
    extract_features(WEIGHTS, IMAGES, batch_size=4, report=lambda *counts: reports.append(counts))
    assert reports == [(4, 7), (7, 7)]


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (IMAGES, {"resize": "lanczos"}, "resize='lanczos'; allowed: tf1, pytorch_fid"),
        (IMAGES, {"batch_size": 0}, "batch_size=0; allowed: 1 or more"),
        (IMAGES / 255, {}, "allowed: uint8"),
        (IMAGES[0], {}, r"allowed: \[N, H, W, C\]"),
        (IMAGES[:0], {}, "no images"),
        (iter([]), {}, "no images"),
        (iter([IMAGES, IMAGES[:, :4]]), {}, r"\(4, 5, 3\) after images of \(6, 5, 3\)"),
        (iter([IMAGES / 255]), {}, "allowed: uint8"),
    ],
)
def test_bad_input_is_refused(traces, images, options, message):
    with pytest.raises(ValueError, match=message):
        extract_features(WEIGHTS, images, **options)


def test_rounding_returns_stored_images():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_uint8(to_float(levels)), levels)


def test_rounding_clips_and_rounds():
    values = np.asarray([-1.5, -1.0, -0.997, -0.995, 0.0, 0.002, 0.998, 1.0, 7.0])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 1, 128, 128, 255, 255, 255])
    assert to_uint8(values).dtype == np.uint8


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        to_uint8(np.asarray([0.0, value]))


def test_protocol_names_network_and_resize():
    assert extraction_protocol(WEIGHTS, "pytorch_fid") == {
        "network": "small.npz",
        "network_sha256": "ab" * 32,
        "network_published": False,
        "resize": "pytorch_fid",
    }
