"""Both placements: the same examples in the same order, each once per epoch, on one host or two, from any iteration."""

import jax
import numpy as np
import pytest

from mpcc_jax.data import loader as loaders
from mpcc_jax.data.loader import DeviceLoader, StreamLoader, call_bounds, choose_placement, epoch_order
from tests.conftest import layout_of

COUNT, STEPS, BATCH = 21, 2, 4
KEY = jax.random.key(7)
IMAGES = np.arange(COUNT, dtype=np.uint8)[:, None, None, None]
LABELS = np.arange(COUNT, dtype=np.int32)


def make(kind, devices=1, **options):
    return kind(IMAGES, LABELS, [KEY], STEPS, BATCH, layout_of(devices), **options)


def collect(loader, start, stop, per_call=4):
    """Image numbers, [iterations, D_steps, B], whose labels are checked."""
    calls = [jax.tree.map(np.asarray, examples) for examples in loader.calls(start, stop, per_call)]
    for examples in calls:
        np.testing.assert_array_equal(examples.images[..., 0, 0, 0], examples.labels)
    return np.concatenate([examples.labels for examples in calls]), [len(examples.labels) for examples in calls]


@pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])
def test_every_example_exactly_once_per_epoch(kind):
    numbers, lengths = collect(make(kind), 0, 22, per_call=4)
    assert lengths == [4, 4, 4, 4, 4, 2]
    assert numbers.shape == (22, STEPS, BATCH)
    epochs = numbers.reshape(-1)[: 8 * COUNT].reshape(8, COUNT)
    np.testing.assert_array_equal(np.sort(epochs, axis=-1), np.tile(np.arange(COUNT), (8, 1)))
    np.testing.assert_array_equal(epochs, [epoch_order(KEY, epoch, COUNT) for epoch in range(8)])


@pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])
def test_calls_that_span_many_epochs_and_positions_beyond_32_bits(kind):
    first = 2**29
    numbers, _ = collect(make(kind), first, first + 30, per_call=20)
    epoch, offset = divmod(first * STEPS * BATCH, COUNT)
    stream = np.concatenate([epoch_order(KEY, epoch + number, COUNT) for number in range(13)])
    np.testing.assert_array_equal(numbers.reshape(-1), stream[offset : offset + 30 * STEPS * BATCH])


def test_both_placements_give_the_same_examples():
    np.testing.assert_array_equal(collect(make(DeviceLoader), 3, 20)[0], collect(make(StreamLoader), 3, 20)[0])


def test_calls_never_cross_a_multiple_of_their_length():
    assert call_bounds(0, 7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert call_bounds(4, 12, 3) == [(4, 6), (6, 9), (9, 12)]
    assert call_bounds(4, 5, 3) == [(4, 5)]
    assert call_bounds(5, 5, 3) == []


@pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])
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


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])
def test_every_seed_has_its_own_order(kind, devices):
    keys = [jax.random.key(seed) for seed in (7, 8)]
    together = kind(IMAGES, None, keys, STEPS, BATCH, layout_of(devices, num_seeds=2))
    (examples,) = together.calls(3, 9, 10)
    assert examples.images.shape == (2, 6, STEPS, BATCH, 1, 1, 1)
    for index, key in enumerate(keys):
        (alone,) = kind(IMAGES, None, [key], STEPS, BATCH, layout_of()).calls(3, 9, 10)
        np.testing.assert_array_equal(examples.images[index], alone.images)


@pytest.mark.parametrize("kind", [DeviceLoader, StreamLoader])
def test_a_restored_loader_goes_on_at_the_same_example(kind):
    whole, _ = collect(make(kind), 0, 13)
    stopped = make(kind).calls(0, 13, 5)
    first = next(stopped)
    stopped.close()
    rest, lengths = collect(make(kind), len(first.labels), 13, per_call=3)
    assert lengths == [1, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([first.labels, rest]), whole)


def test_streaming_from_a_memory_mapped_file_without_labels(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    (examples,) = StreamLoader(images, None, [KEY], STEPS, BATCH, layout_of()).calls(0, 3, 10)
    assert examples.labels is None
    np.testing.assert_array_equal(np.asarray(examples.images)[..., 0, 0, 0], collect(make(DeviceLoader), 0, 3)[0])
    assert isinstance(examples.images, jax.Array)


def test_an_error_while_reading_reaches_the_loop():
    loader = make(StreamLoader)
    loader._order = None
    with pytest.raises(TypeError):
        list(loader.calls(0, 3, 1))


def test_placement_by_size(monkeypatch):
    monkeypatch.setattr(loaders, "device_memory", lambda: 1000)
    assert choose_placement("auto", 250) == "device"
    assert choose_placement("auto", 251) == "stream"
    assert choose_placement("device", 251) == "device"
    assert choose_placement("stream", 1) == "stream"


def test_the_memory_of_this_machine_is_known():
    assert loaders.device_memory() > 2**28
