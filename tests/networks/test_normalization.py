"""Batch normalisation against NumPy, and across devices against the whole batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.networks import normalization
from mpcc_jax.networks.normalization import BatchNorm, ConditionalBatchNorm, LabelEmbed, Standardize

X = np.random.default_rng(0).normal(3.0, 2.0, size=(4, 3, 3, 5)).astype(np.float32)
IMAGES = jnp.asarray(X)


def test_training_normalises_by_the_batch_and_stores_unbiased_variance():
    layer = Standardize(momentum=0.1, epsilon=1e-5)
    variables = layer.init(jax.random.key(0), IMAGES, True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], 0.0)
    outputs, advanced = layer.apply(variables, IMAGES, True, mutable=["batch_stats"])
    mean, var = X.mean((0, 1, 2)), X.var((0, 1, 2))
    np.testing.assert_allclose(outputs, (X - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(advanced["batch_stats"]["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(advanced["batch_stats"]["var"], 0.9 + 0.1 * X.var((0, 1, 2), ddof=1), rtol=1e-5)


def test_evaluation_normalises_by_the_stored_statistics():
    stored = {"mean": jnp.arange(5.0), "var": jnp.arange(1.0, 6.0)}
    outputs = Standardize().apply({"batch_stats": stored}, IMAGES, False)
    np.testing.assert_allclose(outputs, (X - np.arange(5)) / np.sqrt(np.arange(1, 6) + 1e-5), rtol=1e-4, atol=1e-5)


def test_conditional_batch_norm_is_one_plus_gain_per_example():
    layer = ConditionalBatchNorm(functools.partial(LabelEmbed, num_embeddings=3))
    y = jnp.asarray([2, 0, 1, 2])
    variables = layer.init(jax.random.key(0), IMAGES, y, True)
    outputs, _ = layer.apply(variables, IMAGES, y, True, mutable=["batch_stats"])
    tables = {name: np.asarray(variables["params"][name]["embedding"]) for name in ("gain", "bias")}
    normalised = (X - X.mean((0, 1, 2))) / np.sqrt(X.var((0, 1, 2)) + 1e-5)
    expected = normalised * (1 + tables["gain"][y])[:, None, None] + tables["bias"][y][:, None, None]
    np.testing.assert_allclose(outputs, expected, atol=1e-5)


def test_statistics_across_devices_are_those_of_the_whole_batch():
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), IMAGES, True)
    expected, advanced = layer.apply(variables, IMAGES, True, mutable=["batch_stats"])
    split = BatchNorm(functools.partial(Standardize, axis_name="devices"))
    apply = functools.partial(split.apply, mutable=["batch_stats"])
    outputs, stats = jax.vmap(lambda x: apply(variables, x, True), axis_name="devices")(IMAGES.reshape(2, 2, 3, 3, 5))
    np.testing.assert_allclose(outputs.reshape(X.shape), expected, atol=1e-5)
    for name, value in advanced["batch_stats"]["standardize"].items():
        np.testing.assert_allclose(stats["batch_stats"]["standardize"][name][0], value, rtol=1e-5)


def test_one_pass_over_images_gives_what_two_give():
    """Of values a thousand deviations from 0 too, around the running mean."""
    far, weights = IMAGES + 2000.0, jnp.asarray(np.random.default_rng(1).normal(size=X.shape), jnp.float32)
    for x, origin, tolerance in ((IMAGES, jnp.zeros(5), 1e-5), (far, jnp.full(5, 2003.0), 1e-3)):
        expected = normalization._in_two_passes(x, origin, None)
        for found, wanted in zip(normalization._in_one_pass(x, origin, None), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=tolerance)

    def loss(x, center):
        centred, _, var = center(x, jnp.ones(5), None)
        return jnp.sum(weights * centred * jax.lax.rsqrt(var + 1e-5)[None, None, None])

    centers = normalization._in_one_pass, normalization._in_two_passes, normalization._center
    one, two, chosen = (jax.grad(loss)(IMAGES, center) for center in centers)
    np.testing.assert_allclose(one, two, atol=1e-6)
    np.testing.assert_array_equal(chosen, two)


def test_only_a_tpu_takes_one_pass():
    x, origin = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((4, 3, 3, 5), (5,)))
    program = jax.jit(lambda x, origin: normalization._center(x, origin, None)[2])
    texts = {
        platform: program.trace(x, origin).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda", "tpu")
    }
    # The variance needs what is centred around the batch's own mean only where it is taken in a second pass.
    assert {platform: text.count("stablehlo.subtract") for platform, text in texts.items()} == {
        "cpu": 1,
        "cuda": 1,
        "tpu": 2,
    }
