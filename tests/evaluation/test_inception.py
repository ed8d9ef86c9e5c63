"""The network against PyTorch's outputs for synthetic weights, which anybody can draw again.

`tests/golden/inception_synthetic.npz` was computed with torch 2.13.0 (CPU, float32) by a module written for that
purpose alone, with the published names: "tf1.*" from images that NumPy resized in float64, "pytorch_fid.*" from
`torch.nn.functional.interpolate`; "interpolate.*" are some rows ("rows") of the latter's output.
"""

import pathlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.evaluation.features import extract_features
from mpcc_jax.evaluation.inception import SHAPES, inception_v3, prepare
from mpcc_jax.evaluation.inception_weights import InceptionWeights

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "inception_synthetic.npz"
IMAGES = np.random.RandomState(0).randint(0, 256, (2, 32, 32, 3)).astype(np.uint8)


def draw_tensor(name, shape):
    rng = np.random.RandomState(zlib.crc32(name.encode()))
    if name.endswith("conv.weight") or name == "fc.weight":
        return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    if name.endswith(("bn.weight", "running_var")):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    return (rng.normal(size=shape) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def outputs():
    """Features and logits by resize: one network, compiled once."""
    params = {name: draw_tensor(name, shape) for name, shape in SHAPES.items()}
    weights = InceptionWeights(params, "synthetic", "0" * 64, published=False)
    return {resize: extract_features(weights, IMAGES, resize, batch_size=2) for resize in ("tf1", "pytorch_fid")}


@pytest.mark.parametrize("resize", ["tf1", "pytorch_fid"])
def test_features_and_logits_are_those_of_pytorch(outputs, resize):
    with np.load(GOLDEN) as golden:
        for actual, name in zip(outputs[resize], ("pool", "logits"), strict=True):
            expected = golden[f"{resize}.{name}"]
            np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_golden_resizes_can_be_told_apart(outputs):
    """Otherwise the test above could not find them swapped."""
    pools = [outputs[resize][0] for resize in ("tf1", "pytorch_fid")]
    assert np.abs(pools[0] - pools[1]).max() > 1e-2 * np.abs(pools[0]).max()


def test_shapes_are_those_of_the_published_network():
    assert len([name for name in SHAPES if name.endswith("conv.weight")]) == 94
    assert len(SHAPES) == 94 * 5 + 2
    # torchvision's network without the auxiliary classifier has 21 785 568 weights in its layers up to the pool.
    trained = [name for name in SHAPES if "running" not in name and not name.startswith("fc.")]
    assert sum(int(np.prod(SHAPES[name])) for name in trained) == 21_785_568
    assert SHAPES["Mixed_6b.branch7x7dbl_2.conv.weight"] == (128, 128, 7, 1)
    assert SHAPES["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert SHAPES["fc.weight"] == (1008, 2048)


def test_every_multiplication_is_in_full_precision():
    images = jax.ShapeDtypeStruct((1, 299, 299, 3), jnp.float32)
    params = jax.eval_shape(lambda: prepare({name: np.ones(shape, np.float32) for name, shape in SHAPES.items()}))
    jaxpr = jax.make_jaxpr(inception_v3)(params, images)
    found = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("conv_general_dilated", "dot_general")]
    assert len(found) == 95
    highest = (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGHEST)
    assert {eqn.params["precision"] for eqn in found} == {highest}
    assert {eqn.outvars[0].aval.dtype for eqn in found} == {jnp.dtype(jnp.float32)}
