"""The road from a data set to the compiled iterations: from the device's memory, or streamed from disk.

Both give the same examples in the same order, a function of the key and the iteration alone. So the iteration is all of
a loader's position: training that goes on at iteration i asks for the calls from i on, on however many hosts.
"""

import functools
import itertools
import math
import os
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Of the device's memory; the rest is for the networks.
DEVICE_SHARE = 0.25
READ_AHEAD = 4


def call_bounds(start, stop, iterations_per_call):
    """Where calls begin and end. None crosses a multiple of their length, so a resumed run makes the same calls.

    Args:
      start, stop: iterations.
      iterations_per_call: the length of a call.

    Returns:
      Pairs (first, behind the last).
    """
    inner = range((start // iterations_per_call + 1) * iterations_per_call, stop, iterations_per_call)
    edges = [start, *inner, stop]
    return list(itertools.pairwise(edges)) if start < stop else []


def device_memory():
    """Memory of one device, or of the machine where devices do not tell (CPU).

    Returns:
      Bytes.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def choose_placement(placement, num_bytes):
    """Where the data lives during training.

    Args:
      placement: "device", "stream" or "auto".
      num_bytes: of all images.

    Returns:
      "device" or "stream".
    """
    if placement != "auto":
        return placement
    return "device" if num_bytes <= DEVICE_SHARE * device_memory() else "stream"


class DeviceLoader:
    """The whole data set in every device's memory, examples gathered there."""

    def __init__(self, images, labels, keys, steps, batch_size, layout):
        """Moves the data to the devices.

        Args:
          images: uint8, [N, H, W, C].
          labels: integers, [N], or None.
          keys: PRNG keys for data, one per run that is trained at once.
          steps: D_steps, batches per iteration.
          batch_size: B.
          layout: says where arrays live, as `mpcc_jax.training.sharding.Layout` does.
        """
        self._images = layout.place(images, layout.replicated)
        self._labels = None if labels is None else layout.place(labels, layout.replicated)
        self._shape = (steps, batch_size)
        keys, count = layout.replicate_keys(*keys), len(images)
        order, gather_call = functools.partial(epoch_order, num_examples=count), self._gather_call
        if layout.num_seeds > 1:
            order = jax.vmap(order, in_axes=(0, None))
        order = jax.jit(order, out_shardings=layout.by_seed)
        # An order is sorted out once per epoch: sorting takes longer than gathering.
        self._order = functools.lru_cache(maxsize=8)(lambda epoch: order(keys, epoch))
        self._seeds = layout.num_seeds > 1
        self._gather = jax.jit(gather_call, static_argnames="iterations", out_shardings=layout.examples)

    def _gather_call(self, images, labels, orders, offset, iterations):
        steps, batch_size = self._shape

        def one(order):
            indices = jax.lax.dynamic_slice(order, (offset,), (iterations * steps * batch_size,))
            return gather(images, labels, indices.reshape(iterations, steps, batch_size))

        orders = jnp.concatenate(orders, axis=-1)
        return jax.vmap(one)(orders) if self._seeds else one(orders)

    def calls(self, start, stop, iterations_per_call):
        """The examples of iterations start .. stop - 1.

        Args:
          start, stop: iterations.
          iterations_per_call: how many come at once, fewer at the edges (`call_bounds`).

        Yields:
          `Examples` on the devices, images [(seeds,) iterations, D_steps, B, H, W, C].
        """
        per_iteration, count = math.prod(self._shape), len(self._images)
        for first, last in call_bounds(start, stop, iterations_per_call):
            iterations = last - first
            epoch, offset = divmod(first * per_iteration, count)
            num_epochs = -(-iterations * per_iteration // count) + 1
            orders = [self._order(np.uint32(epoch + number)) for number in range(num_epochs)]
            yield self._gather(self._images, self._labels, orders, np.int32(offset), iterations=iterations)


class StreamLoader:
    """Examples read from a memory-mapped array by threads (grain), ahead of the devices.

    Every device gets its part of every batch, and every host reads what its devices get.
    """

    def __init__(self, images, labels, keys, steps, batch_size, layout, num_threads=READ_AHEAD):
        """Reads nothing yet.

        Args:
          images: uint8, [N, H, W, C], perhaps memory-mapped.
          labels: integers, [N], or None.
          keys: PRNG keys for data, one per run that is trained at once.
          steps: D_steps, batches per iteration.
          batch_size: B of all devices together.
          layout: says where arrays live, as `mpcc_jax.training.sharding.Layout` does.
          num_threads: that read.
        """
        self._images, self._labels = images, labels
        self._keys = [jax.device_put(key, jax.local_devices(backend="cpu")[0]) for key in keys]
        self._shape, self._layout, self._num_threads = (steps, batch_size), layout, num_threads
        # A batch may reach across two epochs, and threads are a little apart.
        self._order = functools.lru_cache(maxsize=4 * len(keys))(self._epoch_order)

    def _epoch_order(self, run, epoch):
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(epoch_order(self._keys[run], epoch, len(self._images)))

    def indices(self, first, last, run=0, steps=slice(None), rows=slice(None)):
        """Which examples make up a part of a call.

        Args:
          first, last: its first iteration, and the one behind its last.
          run: which of the runs that are trained at once.
          steps, rows: slices of D_steps and B.

        Returns:
          Indices of examples, [iterations, steps, rows].
        """
        num_steps, batch_size = self._shape
        positions = batch_size * np.arange(num_steps)[steps, None] + np.arange(batch_size)[rows]
        starts = num_steps * batch_size * np.arange(first, last)[:, None, None]
        epochs, offsets = np.divmod(starts + positions, len(self._images))
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._order(run, int(epoch))[offsets[chosen]]
        return indices

    def _load(self, call):
        first, last = call
        runs = len(self._keys)

        def place(array):
            def read(index):
                index, chosen = (index, slice(0, 1)) if runs == 1 else (index[1:], index[0])
                iterations, steps, rows = index[:3]
                parts = [array[self.indices(first, last, run, steps, rows)[iterations]] for run in range(runs)[chosen]]
                return parts[0] if runs == 1 else np.stack(parts)

            shape = (last - first, *self._shape, *array.shape[1:])
            shape = shape if runs == 1 else (runs, *shape)
            return jax.make_array_from_callback(shape, self._layout.examples, read)

        return Examples(place(self._images), None if self._labels is None else place(self._labels))

    def calls(self, start, stop, iterations_per_call):
        """As `DeviceLoader.calls`.

        Args:
          start, stop: iterations.
          iterations_per_call: how many come at once, fewer at the edges (`call_bounds`).

        Yields:
          `Examples` on the devices, images [(seeds,) iterations, D_steps, B, H, W, C].
        """
        import grain

        options = grain.ReadOptions(num_threads=self._num_threads, prefetch_buffer_size=2 * self._num_threads)
        bounds = call_bounds(start, stop, iterations_per_call)
        yield from grain.MapDataset.source(bounds).map(self._load).to_iter_dataset(options)


class Examples(NamedTuple):
    """Images as they are stored, and their labels.

    Attributes:
      images: uint8, [..., B, H, W, C].
      labels: integers, [..., B], or None.
    """

    images: chex.Array
    labels: chex.Array | None


class Batch(NamedTuple):
    """Images as the networks see them, and their labels.

    Attributes:
      images: in [-1, 1], float32, [..., B, H, W, C].
      labels: integers, [..., B], or None.
    """

    images: chex.Array
    labels: chex.Array | None


def epoch_order(key, epoch, num_examples):
    """The order of one epoch, from a key folded from (seed, epoch).

    Args:
      key: the run's PRNG key for data.
      epoch: integer scalar.
      num_examples: N.

    Returns:
      A permutation of 0 .. N-1, int32, [N].
    """
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)


def to_float(images):
    """uint8 pixels to [-1, 1].

    Args:
      images: uint8, [...].

    Returns:
      float32 (float64 where jax is told to use it), [...].
    """
    return images.astype(jnp.result_type(float)) / 127.5 - 1.0


def to_batch(examples):
    """Examples as the networks see them.

    Args:
      examples: `Examples`.

    Returns:
      A `Batch`.
    """
    return Batch(to_float(examples.images), examples.labels)


def gather(images, labels, indices):
    """Picks examples.

    Args:
      images: uint8, [N, H, W, C].
      labels: integers, [N], or None.
      indices: [...].

    Returns:
      `Examples`.
    """
    return Examples(images[indices], None if labels is None else labels[indices])
