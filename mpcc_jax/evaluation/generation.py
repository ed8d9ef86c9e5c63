"""How good the images of a trained generator are: FID, KID and Inception Score against a reference of real images."""

import contextlib
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from ml_collections import ConfigDict

from mpcc_jax.config import cache_dir
from mpcc_jax.data.cache import file_name
from mpcc_jax.data.dataset import Dataset
from mpcc_jax.errors import InputError, WeightsError
from mpcc_jax.evaluation.features import DEFAULT_RESIZE, ROUNDING, extract_features, extraction_protocol, to_uint8
from mpcc_jax.evaluation.fid import FewSamplesWarning
from mpcc_jax.evaluation.inception_weights import VARIABLE, InceptionWeights, find_weights, read_weights
from mpcc_jax.evaluation.reference import (
    ReferenceStatistics,
    check_protocols,
    generation_scores,
    measure_reference,
    read_reference,
    write_reference,
)

PUBLISHED_SAMPLES = 50_000
FEWEST_SAMPLES = 20
MANY_ON_CPU = 5000
NONE = "none"

Warn = Callable[[str], None]
# Takes what is being done, and is a context with a function of (images done, of how many).
Progress = Callable[[str], contextlib.AbstractContextManager[Callable[[int, int], None]]]


@contextlib.contextmanager
def _warnings_to(warn: Warn) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        yield
    for warning in caught:
        warn(str(warning.message))


def find_reference(
    dataset: Dataset, weights: InceptionWeights, resize: str, settings: ConfigDict, progress: Progress
) -> tuple[ReferenceStatistics, Path]:
    """Reads the reference statistics of a data set from the cache of `config.data`, or measures and keeps them."""
    digest = hashlib.sha256(repr(dataset.images.shape).encode())
    digest.update(np.ascontiguousarray(dataset.images))
    pixels = digest.hexdigest()
    about = {name: getattr(dataset, name) for name in ("name", "version", "split")}
    name = file_name("-".join(filter(None, about.values())))
    identity = hashlib.sha256(f"{pixels} {weights.sha256} {resize}".encode()).hexdigest()[:12]
    path = cache_dir(settings.cache_dir) / "statistics" / f"{name}-{dataset.images.shape[1]}px-{identity}.npz"
    if path.exists():
        return read_reference(path), path
    shape = list(dataset.images.shape[1:])
    protocol = {**extraction_protocol(weights, resize), **about, "pixels_sha256": pixels, "shape": shape}
    with progress("Inception on real images") as count:
        features, logits = extract_features(weights, dataset.images, resize, progress=count)
    reference = measure_reference(features, logits, protocol)
    write_reference(path, reference)
    return reference, path


def _generate_batches(trained: Any, key: Array, num_samples: int, count: Callable) -> Iterator[np.ndarray]:
    """Batches of generated images, 8-bit; a function of the key and of how many."""
    size = trained.config.training.batch_size if trained.statistics == "batch" else trained.batch_size
    for index, done in enumerate(range(0, num_samples, size)):
        images = trained.generate(jax.random.fold_in(key, index), size)
        yield to_uint8(images)[: num_samples - done]
        count(min(done + size, num_samples), num_samples)


class Measurement(NamedTuple):
    """What FID and the like are measured with, checked; without a reference it is the run's data."""

    weights: InceptionWeights
    resize: str
    reference: ReferenceStatistics | None
    num_samples: int
    protocol: dict


def plan_measurement(
    trained: Any,
    warn: Warn,
    *,
    inception: str | Path | None = None,
    resize: str = DEFAULT_RESIZE,
    reference: str | Path | None = None,
    num_samples: int = PUBLISHED_SAMPLES,
) -> Measurement | None:
    """Finds and checks what FID, KID and Inception Score need, before anything expensive.

    Args:
      trained: the `TrainedModel`.
      warn: called with a sentence.
      inception: path of the weights, "download" or "none"; None takes them where they usually are, and goes without
        where they are not. Without weights, None is returned.
      resize: one of `features.RESIZES`.
      reference: path of statistics, ours or published; None measures those of the data set, once.
      num_samples: generated images, at least 20; 50 000 is usual.

    Raises:
      WeightsError, DataError: if weights that were asked for, or the reference, are missing or not the right ones.
    """
    if inception == NONE:
        return None
    if num_samples < FEWEST_SAMPLES:
        raise InputError(
            f"num_samples is {num_samples}; allowed: {FEWEST_SAMPLES} or more (2 a split of the Inception Score), "
            f"{PUBLISHED_SAMPLES} in publications."
        )
    try:
        path = find_weights(inception, trained.config.data.cache_dir)
    except WeightsError as error:
        if inception or os.environ.get(VARIABLE):
            raise
        warn(f"no FID, KID and Inception Score: {error}")
        return None
    weights = read_weights(path)
    protocol = {
        **extraction_protocol(weights, resize),
        "rounding": ROUNDING,
        "generator": "moving average of the weights",
        "batch_norm_statistics": trained.statistics,
        "iteration": trained.iteration,
        "truncation": 1.0,
    }
    stored = read_reference(Path(reference).expanduser()) if reference else None
    check_protocols(protocol, stored.protocol if stored else {})
    if jax.default_backend() == "cpu" and num_samples > MANY_ON_CPU:
        warn(
            f"Inception on {num_samples} samples takes hours on a CPU. Take fewer by --num_samples, or go without by "
            f"--inception={NONE}."
        )
    return Measurement(weights, resize, stored, num_samples, protocol)


def measure(measurement: Measurement, trained: Any, dataset: Dataset, warn: Warn, progress: Progress) -> dict:
    """Measures FID, KID and Inception Score of a trained generator, by name as `reference.generation_scores`."""
    weights, resize, reference, num_samples, protocol = measurement
    with _warnings_to(warn):
        if reference is None:
            reference, _ = find_reference(dataset, weights, resize, trained.config.data, progress)
        with progress("Inception on generated images") as count:
            samples = _generate_batches(trained, jax.random.key(trained.seed), num_samples, count)
            features, logits = extract_features(weights, samples, resize)
        return generation_scores(features, logits, reference, protocol, np.random.default_rng(0))


def measure_statistics(
    config: ConfigDict,
    dataset: Dataset,
    warn: Warn,
    progress: Progress,
    *,
    inception: str | Path | None = None,
    resize: str = DEFAULT_RESIZE,
    out: str | Path | None = None,
) -> tuple[ReferenceStatistics, Path]:
    """Computes the reference statistics of a data set, once; `out` gets a copy, evaluation looks in the cache.

    Raises WeightsError if the weights are not there, or not the right ones.
    """
    if out and Path(out).suffix != ".npz":
        raise InputError(f"--out is {str(out)!r}; allowed: a name that ends in .npz.")
    weights = read_weights(find_weights(inception, config.data.cache_dir))
    with _warnings_to(warn):
        reference, path = find_reference(dataset, weights, resize, config.data, progress)
    if out:
        path = Path(out).expanduser()
        write_reference(path, reference)
    return reference, path
