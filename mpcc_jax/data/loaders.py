"""The road from a data set to the compiled iterations: from the device's memory, or streamed from disk.

Both give the same examples in the same order, a function of the key and the iteration alone. So the iteration is all of
a loader's position: training that goes on at iteration i asks for the calls from i on, on however many hosts.
"""

import functools
import itertools
import math
import os

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.data.dataset import DataError
from mpcc_jax.data.sampler import Examples, epoch_order, gather

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
    """The whole data set in the device's memory, examples gathered there."""

    def __init__(self, images, labels, key, steps, batch_size):
        """Moves the data to the device.

        Args:
          images: uint8, [N, H, W, C].
          labels: integers, [N], or None.
          key: the run's PRNG key for data.
          steps: D_steps, batches per iteration.
          batch_size: B.
        """
        self._images = jax.device_put(np.asarray(images))
        self._labels = None if labels is None else jax.device_put(labels)
        self._shape = (steps, batch_size)
        count = len(images)
        # An order is sorted out once per epoch: sorting takes longer than gathering.
        self._order = functools.lru_cache(maxsize=8)(jax.jit(lambda epoch: epoch_order(key, epoch, count)))
        self._gather = jax.jit(self._gather_call, static_argnames="iterations")

    def _gather_call(self, images, labels, orders, offset, iterations):
        steps, batch_size = self._shape
        indices = jax.lax.dynamic_slice(jnp.concatenate(orders), (offset,), (iterations * steps * batch_size,))
        return gather(images, labels, indices.reshape(iterations, steps, batch_size))

    def calls(self, start, stop, iterations_per_call):
        """The examples of iterations start .. stop - 1.

        Args:
          start, stop: iterations.
          iterations_per_call: how many come at once, fewer at the edges (`call_bounds`).

        Yields:
          `Examples` on the device, images [iterations, D_steps, B, H, W, C].
        """
        per_iteration, count = math.prod(self._shape), len(self._images)
        for first, last in call_bounds(start, stop, iterations_per_call):
            iterations = last - first
            epoch, offset = divmod(first * per_iteration, count)
            num_epochs = -(-iterations * per_iteration // count) + 1
            orders = [self._order(np.uint32(epoch + number)) for number in range(num_epochs)]
            yield self._gather(self._images, self._labels, orders, np.int32(offset), iterations=iterations)


class StreamLoader:
    """Examples read from a memory-mapped array by threads (grain), ahead of the device.

    Every host reads its part of every batch, so the union over hosts is the batch that one host would have drawn.
    """

    def __init__(self, images, labels, key, steps, batch_size, host=(0, 1), num_threads=READ_AHEAD, device=None):
        """Reads nothing yet.

        Args:
          images: uint8, [N, H, W, C], perhaps memory-mapped.
          labels: integers, [N], or None.
          key: the run's PRNG key for data.
          steps: D_steps, batches per iteration.
          batch_size: B of all hosts together.
          host: (which, of how many).
          num_threads: that read.
          device: a device or sharding to put examples on; None is the first of this host.

        Raises:
          DataError: if the hosts cannot have equal parts of a batch.
        """
        index, count = host
        if batch_size % count:
            raise DataError(
                f"config.training.batch_size is {batch_size}; allowed: a multiple of {count}, the number of hosts."
            )
        self._images, self._labels = images, labels
        self._key = jax.device_put(key, jax.local_devices(backend="cpu")[0])
        self._per_iteration, self._num_threads, self._device = steps * batch_size, num_threads, device
        part = batch_size // count
        self._positions = batch_size * np.arange(steps)[:, None] + part * index + np.arange(part)
        # A batch may reach across two epochs, and threads are a little apart.
        self._order = functools.lru_cache(maxsize=4)(self._epoch_order)

    def _epoch_order(self, epoch):
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            return np.asarray(epoch_order(self._key, epoch, len(self._images)))

    def read(self, first, last):
        """This host's examples of one call.

        Args:
          first, last: its first iteration, and the one behind its last.

        Returns:
          `Examples` in NumPy arrays, images [iterations, D_steps, B / hosts, H, W, C].
        """
        starts = self._per_iteration * np.arange(first, last)[:, None, None]
        epochs, offsets = np.divmod(starts + self._positions, len(self._images))
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._order(int(epoch))[offsets[chosen]]
        return gather(self._images, self._labels, indices)

    def calls(self, start, stop, iterations_per_call):
        """As `DeviceLoader.calls`, with this host's part of every batch.

        Args:
          start, stop: iterations.
          iterations_per_call: how many come at once, fewer at the edges (`call_bounds`).

        Yields:
          `Examples` on the device, images [iterations, D_steps, B / hosts, H, W, C].
        """
        import grain

        options = grain.ReadOptions(num_threads=self._num_threads, prefetch_buffer_size=2 * self._num_threads)
        bounds = call_bounds(start, stop, iterations_per_call)
        calls = grain.MapDataset.source(bounds).map(lambda call: tuple(self.read(*call))).to_iter_dataset(options)
        device = self._device or jax.local_devices()[0]
        for images, labels in grain.experimental.device_put(calls, device, cpu_buffer_size=2, device_buffer_size=2):
            yield Examples(images, labels)
