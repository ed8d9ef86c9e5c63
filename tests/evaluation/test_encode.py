"""Encoding and standing statistics with a tiny model."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.data.loader import to_float
from mpcc_jax.evaluation.encode import encode_images, standing_statistics
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate
from mpcc_jax.prior import draw_latents
from tests.conftest import SMALL_IMAGES


def test_encoding_in_batches_is_encoding_at_once(algorithm, state):
    model, images = algorithm.model, SMALL_IMAGES[:7]
    (mean, log_var), _ = encode(model, state.params, state.buffers, to_float(jnp.asarray(images)), train=False)
    mixture = model.prior.membership_mixture(state.params["prior"])
    results = encode_images(model, state, images, batch_size=3)
    expected = (mean, log_var, log_membership(mean, mixture), mixture.log_prob(mean))
    for actual, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(actual, value, rtol=1e-5, atol=1e-5)


def test_standing_statistics_are_the_mean_over_passes(algorithm, state):
    model, key = algorithm.model, jax.random.key(2)
    ema = jax.tree.map(lambda x: 0.5 * x, {"params": state.params["generator"], "buffers": state.buffers["generator"]})
    state = state.replace(ema=ema)
    actual = standing_statistics(model, state, key, num_passes=3, batch_size=5)
    latents = draw_latents(key, (3, 5), model.prior)
    stored = []
    for i in range(3):
        y, eps = latents.y[i], latents.eps[i]
        z = model.prior.sampling_mixture(state.params["prior"]).sample(y, eps)
        params, buffers = {"generator": ema["params"]}, {"generator": ema["buffers"]}
        _, advanced = generate(model, params, buffers, z, y, train=True)
        # momentum 0.1: stored = 0.9 old + 0.1 batch
        old, new = ema["buffers"]["batch_stats"], advanced["generator"]["batch_stats"]
        stored.append(jax.tree.map(lambda new, old: (new - 0.9 * old) / 0.1, new, old))
    expected = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *stored)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4), actual["batch_stats"], expected)
    jax.tree.map(np.testing.assert_array_equal, actual["spectral"], ema["buffers"]["spectral"])
