"""Examples of the compiled iterations, from a data set in the devices' memory or streamed from disk.

Both loaders give the same examples in the same order, a function of the key and the iteration alone: training that is
resumed at iteration i asks for the calls from i on, on however many hosts.
"""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Float, Integer, Key, Real

# Of the device's memory; the rest is for the networks.
DEVICE_SHARE = 0.25
READ_AHEAD = 4


class Examples(NamedTuple):
    """Images as they are stored, uint8 [..., B, H, W, C], and labels, integers [..., B], or None."""

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray | None


class Batch(NamedTuple):
    """Images as the networks see them, floats in [-1, 1], [..., B, H, W, C], and labels, integers [..., B], or None."""

    images: jax.Array | np.ndarray
    labels: jax.Array | np.ndarray | None


def to_float(images: Real[Array | np.ndarray, "..."]) -> Float[Array | np.ndarray, "..."]:
    """Scales pixels from 0 .. 255 to [-1, 1], float32 (float64 where jax is told to use it)."""
    return images.astype(jnp.result_type(float)) / 127.5 - 1.0


def to_batch(examples: Examples) -> Batch:
    """Scales the images of examples (`to_float`)."""
    return Batch(to_float(examples.images), examples.labels)


def epoch_order(
    key: Key[Array, ""], epoch: int | Integer[Array | np.ndarray, ""], num_examples: int
) -> Integer[Array, " N"]:
    """Draws the permutation of an epoch, int32, from the key folded with the epoch."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), num_examples)


def gather(
    images: Real[Array | np.ndarray, "N H W C"],
    labels: Integer[Array | np.ndarray, " N"] | None,
    indices: Integer[Array | np.ndarray, "..."],
) -> Examples:
    """Picks examples by their indices."""
    return Examples(images[indices], None if labels is None else labels[indices])


def call_bounds(start: int, stop: int, iterations_per_call: int) -> list[tuple[int, int]]:
    """Splits iterations start .. stop - 1 into calls of `iterations_per_call`, or of one where those do not fit.

    So two programs are compiled at most. None crosses a multiple of the length, so a resumed run makes the same calls.
    """
    bounds = []
    while start < stop:
        whole = start % iterations_per_call == 0 and start + iterations_per_call <= stop
        bounds.append((start, start + (iterations_per_call if whole else 1)))
        start = bounds[-1][1]
    return bounds


def device_memory() -> int:
    """Returns the bytes of one device's memory, or of the machine's where devices do not tell (CPU)."""
    statistics = jax.local_devices()[0].memory_stats() or {}
    return statistics.get("bytes_limit") or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def choose_placement(placement: str, num_bytes: int) -> str:
    """Returns "device" or "stream"; "auto" decides by the size of all images."""
    if placement != "auto":
        return placement
    return "device" if num_bytes <= DEVICE_SHARE * device_memory() else "stream"


@functools.cache
def _order_program(num_examples: int, sharding: Sharding, num_seeds: int) -> Callable[..., jax.Array]:
    order = functools.partial(epoch_order, num_examples=num_examples)
    return jax.jit(jax.vmap(order, in_axes=(0, None)) if num_seeds > 1 else order, out_shardings=sharding)


@functools.cache
def _gather_program(shape: tuple[int, int, int], sharding: Sharding, num_seeds: int) -> Callable[..., Examples]:
    """Compiles gathering for a shape (iterations, D_steps, B)."""

    def gather_call(images: Array, labels: Array | None, orders: list[Array], offset: Array) -> Examples:
        def gather_run(order: Array) -> Examples:
            indices = jax.lax.dynamic_slice(order, (offset,), (math.prod(shape),))
            return gather(images, labels, indices.reshape(shape))

        orders = jnp.concatenate(orders, axis=-1)
        return jax.vmap(gather_run)(orders) if num_seeds > 1 else gather_run(orders)

    return jax.jit(gather_call, out_shardings=sharding)


@dataclasses.dataclass(eq=False)
class _Loader:
    """Images and labels, a PRNG key for each run, D_steps, B, and a `mpcc_jax.training.sharding.Layout`."""

    images: np.ndarray | jax.Array
    labels: np.ndarray | jax.Array | None
    keys: Sequence[jax.Array]
    steps: int
    batch_size: int
    layout: Any


@dataclasses.dataclass(eq=False)
class DeviceLoader(_Loader):
    """The whole data set in every device's memory, examples gathered there."""

    def __post_init__(self) -> None:
        self.images = self.layout.place(self.images, self.layout.replicated)
        self.labels = None if self.labels is None else self.layout.place(self.labels, self.layout.replicated)
        keys = self.layout.replicate_keys(*self.keys)
        order = _order_program(len(self.images), self.layout.by_seed, self.layout.num_seeds)
        # An order is sorted out once per epoch: sorting takes longer than gathering.
        self._order = functools.lru_cache(maxsize=8)(lambda epoch: order(keys, np.uint32(epoch)))

    def calls(self, start: int, stop: int, iterations_per_call: int) -> Iterator[Examples]:
        """Yields the examples of iterations start .. stop - 1, in calls as of `call_bounds`.

        Images are [(seeds,) iterations, D_steps, B, H, W, C], divided over the devices.
        """
        for first, last in call_bounds(start, stop, iterations_per_call):
            shape = (last - first, self.steps, self.batch_size)
            epoch, offset = divmod(first * self.steps * self.batch_size, len(self.images))
            num_epochs = -(-math.prod(shape) // len(self.images)) + 1
            orders = [self._order(epoch + number) for number in range(num_epochs)]
            program = _gather_program(shape, self.layout.examples, self.layout.num_seeds)
            yield program(self.images, self.labels, orders, np.int32(offset))


@dataclasses.dataclass(eq=False)
class StreamLoader(_Loader):
    """Examples read from a memory-mapped array by threads, ahead of the devices.

    Every device gets its part of every batch, and every host reads what its devices get.
    """

    def __post_init__(self) -> None:
        cpu = jax.local_devices(backend="cpu")[0]
        keys, count = [jax.device_put(key, cpu) for key in self.keys], len(self.images)

        # A batch may reach across two epochs, and threads are a little apart.
        @functools.lru_cache(maxsize=4 * len(keys))
        def order(run: int, epoch: int) -> np.ndarray:
            with jax.default_device(cpu):
                return np.asarray(epoch_order(keys[run], epoch, count))

        self._order = order

    def indices(
        self, first: int, last: int, run: int = 0, steps: slice = slice(None), rows: slice = slice(None)
    ) -> Integer[np.ndarray, "iterations steps rows"]:
        """Returns the indices of the examples of iterations first .. last - 1, or of slices of D_steps and B."""
        positions = self.batch_size * np.arange(self.steps)[steps, None] + np.arange(self.batch_size)[rows]
        starts = self.steps * self.batch_size * np.arange(first, last)[:, None, None]
        epochs, offsets = np.divmod(starts + positions, len(self.images))
        indices = np.empty_like(offsets)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            indices[chosen] = self._order(run, int(epoch))[offsets[chosen]]
        return indices

    def _load(self, call: tuple[int, int]) -> Examples:
        first, last = call
        runs = len(self.keys)

        def place(array: np.ndarray) -> jax.Array:
            def read(index: tuple[slice, ...]) -> np.ndarray:
                index, chosen = (index, slice(0, 1)) if runs == 1 else (index[1:], index[0])
                iterations, steps, rows = index[:3]
                parts = [array[self.indices(first, last, run, steps, rows)[iterations]] for run in range(runs)[chosen]]
                return parts[0] if runs == 1 else np.stack(parts)

            shape = (*([runs] if runs > 1 else []), last - first, self.steps, self.batch_size, *array.shape[1:])
            return jax.make_array_from_callback(shape, self.layout.examples, read)

        return Examples(place(self.images), None if self.labels is None else place(self.labels))

    def calls(self, start: int, stop: int, iterations_per_call: int) -> Iterator[Examples]:
        """Yields what `DeviceLoader.calls` yields."""
        options = grain.ReadOptions(num_threads=READ_AHEAD, prefetch_buffer_size=2 * READ_AHEAD)
        bounds = call_bounds(start, stop, iterations_per_call)
        yield from grain.MapDataset.source(bounds).map(self._load).to_iter_dataset(options)
