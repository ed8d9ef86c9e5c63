"""Orders of epochs, and examples as the networks see them."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.data.loader import epoch_order, gather, to_batch, to_float

KEY = jax.random.key(3)


def test_orders_are_permutations_of_their_own():
    orders = [np.asarray(epoch_order(KEY, epoch, 12)) for epoch in range(8)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(12))
    assert len({tuple(order) for order in orders}) == 8
    np.testing.assert_array_equal(epoch_order(KEY, jnp.uint32(3), 12), orders[3])


def test_gather_picks_and_to_batch_scales_to_minus_one_one():
    images = np.asarray([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    examples = gather(images, np.asarray([4, 5, 6]), np.asarray([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(examples.images[..., 0, 0, 0], [[255, 0], [51, 51]])
    batch = to_batch(examples)
    np.testing.assert_allclose(batch.images[..., 0, 0, 0], [[1.0, -1.0], [-0.6, -0.6]], atol=1e-6)
    np.testing.assert_array_equal(batch.labels, [[6, 4], [5, 5]])
    assert to_batch(gather(images, None, np.asarray([0]))).labels is None
    assert to_float(images).dtype == np.float32
