"""Both placements: the same examples in the same order, each once per epoch, on any devices, from any iteration."""

import jax
import numpy as np
import pytest

from mpcc_jax.data import loader as loaders
from mpcc_jax.data.loader import DeviceLoader, StreamLoader, call_bounds, choose_placement, epoch_order, to_batch
from tests.conftest import layout_of

COUNT, STEPS, BATCH = 21, 2, 4
KEY = jax.random.key(7)
IMAGES = np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
LABELS = np.arange(COUNT, dtype=np.int32)
both_placements = pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])


def make(kind, devices=1, seeds=(7,), labels=LABELS):
    layout = layout_of(devices, num_seeds=len(seeds))
    return kind(IMAGES, labels, [jax.random.key(seed) for seed in seeds], STEPS, BATCH, layout)


def collect(loader, start, stop, per_call=4):
    """Numbers of the examples, [iterations, D_steps, B], and the lengths of the calls."""
    calls = [jax.tree.map(np.asarray, examples) for examples in loader.calls(start, stop, per_call)]
    for examples in calls:
        np.testing.assert_array_equal(examples.images[..., 0, 0, 0], examples.labels)
    return np.concatenate([examples.labels for examples in calls]), [len(examples.labels) for examples in calls]


@both_placements
def test_every_example_exactly_once_per_epoch(kind):
    numbers, lengths = collect(make(kind), 0, 22, per_call=4)
    assert lengths == [4, 4, 4, 4, 4, 1, 1]
    epochs = numbers.reshape(-1)[: 8 * COUNT].reshape(8, COUNT)
    np.testing.assert_array_equal(np.sort(epochs, axis=-1), np.tile(np.arange(COUNT), (8, 1)))
    np.testing.assert_array_equal(epochs, [epoch_order(KEY, epoch, COUNT) for epoch in range(8)])
    assert len(np.unique(epochs, axis=0)) == 8, "an order of its own for every epoch"


@both_placements
def test_calls_that_span_many_epochs_and_positions_beyond_32_bits(kind):
    first = 2**29
    numbers, _ = collect(make(kind), first, first + 32, per_call=16)
    epoch, offset = divmod(first * STEPS * BATCH, COUNT)
    stream = np.concatenate([epoch_order(KEY, epoch + number, COUNT) for number in range(14)])
    np.testing.assert_array_equal(numbers.reshape(-1), stream[offset : offset + 32 * STEPS * BATCH])


def test_calls_have_two_lengths_whatever_the_interval():
    assert call_bounds(4, 11, 3) == [(4, 5), (5, 6), (6, 9), (9, 10), (10, 11)]
    assert call_bounds(5, 5, 3) == []
    for start, stop, length in [(0, 7, 3), (1, 100, 10), (13, 14, 10), (7, 50, 1), (9, 12, 4)]:
        calls = call_bounds(start, stop, length)
        assert [number for first, last in calls for number in range(first, last)] == list(range(start, stop))
        assert {last - first for first, last in calls} <= {1, length}
        assert all(first // length == (last - 1) // length for first, last in calls)


@both_placements
def test_a_resumed_run_gets_the_same_calls(kind):
    whole, lengths = collect(make(kind), 0, 13, per_call=5)
    assert lengths == [5, 5, 1, 1, 1]
    (in_one,) = make(kind).calls(0, 13, 13)
    np.testing.assert_array_equal(whole, in_one.labels)
    stopped = make(kind).calls(0, 13, 5)
    next(stopped)
    stopped.close()
    remainder, lengths = collect(make(kind), 5, 13, per_call=5)
    assert lengths == [5, 1, 1, 1]
    np.testing.assert_array_equal(remainder, whole[5:])


@both_placements
def test_devices_get_their_parts_of_every_batch(kind):
    (whole,) = make(kind).calls(0, 11, 11)
    (divided,) = make(kind, devices=4).calls(0, 11, 11)
    np.testing.assert_array_equal(divided.images, whole.images)
    for number, shard in enumerate(divided.labels.addressable_shards):
        assert shard.data.shape == (11, STEPS, BATCH // 4)
        np.testing.assert_array_equal(shard.data[..., 0], np.asarray(whole.labels)[..., number])


def test_a_host_reads_only_what_its_devices_get():
    """The rows of a device, in every step, whatever the epoch that they belong to."""
    loader = make(StreamLoader)
    whole = loader.indices(0, 11)
    np.testing.assert_array_equal(loader.indices(0, 11, rows=slice(1, 3)), whole[..., 1:3])
    np.testing.assert_array_equal(loader.indices(4, 6, steps=slice(1, 2)), whole[4:6, 1:2])


@pytest.mark.parametrize("devices", [1, 4])
@both_placements
def test_every_seed_has_its_own_order(kind, devices):
    (examples,) = make(kind, devices, seeds=(7, 8), labels=None).calls(6, 12, 6)
    assert examples.images.shape == (2, 6, STEPS, BATCH, 1, 1, 1)
    assert examples.labels is None
    for index, seed in enumerate((7, 8)):
        (alone,) = make(kind, seeds=(seed,), labels=None).calls(6, 12, 6)
        np.testing.assert_array_equal(examples.images[index], alone.images)


def test_a_second_loader_of_the_same_shape_compiles_nothing():
    def load(seed):
        return list(make(DeviceLoader, seeds=(seed,)).calls(0, 3, 2))

    load(1)
    programs = [
        loaders._order_program(COUNT, layout_of().by_seed, 1),
        *(loaders._gather_program((length, STEPS, BATCH), layout_of().examples, 1) for length in (1, 2)),
    ]
    sizes = [program._cache_size() for program in programs]
    load(2)
    assert min(sizes) == 1
    assert [program._cache_size() for program in programs] == sizes


def test_streaming_from_a_memory_mapped_file(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    (examples,) = StreamLoader(images, None, [KEY], STEPS, BATCH, layout_of()).calls(0, 3, 3)
    assert isinstance(examples.images, jax.Array)
    np.testing.assert_array_equal(np.asarray(examples.images)[..., 0, 0, 0], collect(make(DeviceLoader), 0, 3)[0])


def test_an_error_while_reading_reaches_the_loop():
    loader = make(StreamLoader)
    loader._order = None
    with pytest.raises(TypeError):
        list(loader.calls(0, 3, 1))


def test_placement_by_size(monkeypatch):
    assert loaders.device_memory() > 2**28
    monkeypatch.setattr(loaders, "device_memory", lambda: 1000)
    assert [choose_placement("auto", size) for size in (250, 251)] == ["device", "stream"]
    assert [choose_placement(kind, 251) for kind in ("device", "stream")] == ["device", "stream"]


def test_batches_are_scaled_to_minus_one_one():
    images = np.asarray([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
    examples = loaders.gather(images, np.asarray([4, 5, 6]), np.asarray([[2, 0], [1, 1]]))
    batch = to_batch(examples)
    assert batch.images.dtype == np.float32
    np.testing.assert_allclose(batch.images[..., 0, 0, 0], [[1.0, -1.0], [-0.6, -0.6]], atol=1e-6)
    np.testing.assert_array_equal(batch.labels, [[6, 4], [5, 5]])
