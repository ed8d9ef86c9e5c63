"""Sampling without replacement: every example once per epoch, the same from any starting point."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpcc_jax.data.sampler import epoch_order, gather, stream_indices, to_batch, to_float

KEY = jax.random.key(3)


@functools.partial(jax.jit, static_argnums=(1, 2))
def indices(start, count, num_examples):
    return stream_indices(KEY, start, count, num_examples)


@pytest.mark.parametrize("num_examples", [7, 12])
@pytest.mark.parametrize("count", [4, 30])
def test_stream_is_epoch_after_epoch(num_examples, count):
    stream = np.concatenate([indices(jnp.uint32(count * i), count, num_examples) for i in range(6)])
    orders = []
    for epoch in range(len(stream) // num_examples):
        order = stream[epoch * num_examples : (epoch + 1) * num_examples]
        np.testing.assert_array_equal(np.sort(order), np.arange(num_examples))
        np.testing.assert_array_equal(order, epoch_order(KEY, epoch, num_examples))
        orders.append(tuple(order))
    assert len(set(orders)) == len(orders)


def test_positions_beyond_a_signed_integer():
    start = 3_000_000_000
    epoch, offset = divmod(start, 7)
    np.testing.assert_array_equal(indices(jnp.uint32(start), 3, 7), epoch_order(KEY, epoch, 7)[offset : offset + 3])


def test_gather_picks_and_to_batch_scales_to_minus_one_one():
    images = np.asarray([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    examples = gather(images, np.asarray([4, 5, 6]), np.asarray([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(examples.images[..., 0, 0, 0], [[255, 0], [51, 51]])
    batch = to_batch(examples)
    np.testing.assert_allclose(batch.images[..., 0, 0, 0], [[1.0, -1.0], [-0.6, -0.6]], atol=1e-6)
    np.testing.assert_array_equal(batch.labels, [[6, 4], [5, 5]])
    assert to_batch(gather(images, None, np.asarray([0]))).labels is None
    assert to_float(images).dtype == np.float32
