"""Rounding; resizes against formulas and PyTorch; batching, with a small function in the place of the network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.data.loader import to_float
from mpcc_jax.evaluation import features
from mpcc_jax.evaluation.features import RESIZES, extract_features, to_uint8
from mpcc_jax.evaluation.inception_weights import InceptionWeights
from tests.evaluation.test_inception import GOLDEN
from tests.evaluation.test_inception import IMAGES as GOLDEN_IMAGES

WEIGHTS = InceptionWeights({"scale": np.asarray(2, np.float32)}, "small.npz", "ab" * 32, published=False)
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 6, 5, 3)).astype(np.uint8)
RNG = np.random.RandomState(1)
# In the order in which the golden file's images were drawn.
DRAWN = {shape: RNG.randint(0, 256, (1, *shape)).astype(np.uint8) for shape in ((28, 28, 1), (331, 320, 3))}


def test_rounding_returns_stored_images_and_clips():
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    np.testing.assert_array_equal(to_uint8(to_float(levels)), levels)
    values = np.asarray([-1.5, -1.0, -0.997, -0.995, 0.0, 0.002, 0.998, 1.0, 7.0])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 1, 128, 128, 255, 255, 255])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_that_are_not_finite_are_refused(value):
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        to_uint8(np.asarray([0.0, value]))


def interpolate(images, axis, offset):
    """Takes the two neighbours of every source coordinate; coordinates before the first pixel are the first pixel."""
    size = images.shape[axis]
    source = np.maximum((np.arange(299) + offset) * (size / 299) - offset, 0)
    lower = np.floor(source).astype(int)
    upper = np.minimum(lower + 1, size - 1)
    share = np.expand_dims(source - lower, [other for other in range(4) if other != axis])
    return images.take(lower, axis) * (1 - share) + images.take(upper, axis) * share


def by_formula(images, resize):
    images = np.broadcast_to(images.astype(np.float64), (*images.shape[:3], 3))
    offset = {"tf1": 0.0, "pytorch_fid": 0.5}[resize]
    resized = interpolate(interpolate(images, 1, offset), 2, offset)
    return (resized - 128) / 128 if resize == "tf1" else 2 * resized / 255 - 1


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 5, 3), (331, 299, 3)])
def test_resizes_are_the_formulas(resize, shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    resized = jax.jit(RESIZES[resize])(images)
    assert resized.dtype == jnp.float32
    np.testing.assert_allclose(resized, by_formula(images, resize), rtol=0, atol=2e-6)


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (331, 320, 3)])
def test_pytorch_fid_is_interpolate(shape):
    images = GOLDEN_IMAGES[:1] if shape == (32, 32, 3) else DRAWN[shape]
    with np.load(GOLDEN) as golden:
        rows, expected = golden["rows"], golden["interpolate." + "x".join(map(str, shape))]
    rows = rows if len(expected) == len(rows) else rows[[0, 4, 6]]
    # torch computes source coordinates in float32, whose numbers around 300 are 3e-5 apart; pixels differ by up to 2.
    np.testing.assert_allclose(RESIZES["pytorch_fid"](images)[0][rows], expected, rtol=0, atol=1e-4)


@pytest.fixture
def traces(monkeypatch):
    """Shapes that the stand-in for the network was compiled for."""
    seen = []

    def network(params, images):
        seen.append(images.shape)
        # As wide as Inception's results.
        return params["scale"] * jnp.tile(images[:, :8, 0, 0], 256), jnp.tile(images[:, :8, 150, 0], 126)

    monkeypatch.setattr(features, "prepare", lambda params: params)
    program = jax.jit(network)
    monkeypatch.setattr(features, "_network", lambda: program)
    return seen


def assert_features(actual, images, resize="tf1"):
    resized = np.asarray(RESIZES[resize](images))
    for part, expected in zip(actual, (2 * resized[:, :8, 0, 0], resized[:, :8, 150, 0]), strict=True):
        assert part.dtype == np.float32
        np.testing.assert_allclose(part[:, :8], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("resize", "batch_size"), [("tf1", 2), ("tf1", 10), ("pytorch_fid", 7)])
def test_batches_are_padded_and_cut(traces, resize, batch_size):
    assert_features(extract_features(WEIGHTS, IMAGES, resize, batch_size), IMAGES, resize)
    extract_features(WEIGHTS, IMAGES[:1, ..., :1], resize, batch_size)
    assert traces == [(batch_size, 299, 299, 3)], "one program serves all calls"


@pytest.mark.parametrize("cuts", [[1, 2, 6], [], None])
def test_progress_and_iterables_of_any_lengths(traces, cuts):
    counts = []
    images = IMAGES if cuts is None else iter(np.split(IMAGES, cuts))
    results = extract_features(WEIGHTS, images, batch_size=3, progress=lambda *pair: counts.append(pair))
    assert_features(results, IMAGES)
    total = 7 if cuts is None else None
    assert counts == [(3, total), (6, total), (7, total)]
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("images", "resize", "message"),
    [
        (IMAGES, "lanczos", "resize='lanczos'; allowed: tf1, pytorch_fid"),
        (IMAGES / 255, "tf1", "allowed: uint8"),
        (IMAGES[:0], "tf1", "no images"),
        (iter([]), "tf1", "no images"),
        (iter([IMAGES, IMAGES[:, :4]]), "tf1", r"\(4, 5, 3\) after images of \(6, 5, 3\)"),
        (iter([IMAGES / 255]), "tf1", "allowed: uint8"),
    ],
)
def test_bad_input_is_refused(traces, images, resize, message):
    with pytest.raises(ValueError, match=message):
        extract_features(WEIGHTS, images, resize)
