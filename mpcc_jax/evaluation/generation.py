"""How good the images of a trained generator are: FID, KID and Inception Score against a reference of real images."""

import hashlib
import itertools
import os
import pathlib
import warnings
from typing import NamedTuple

import jax
import numpy as np

from mpcc_jax.data.cache import cache_dir, file_name
from mpcc_jax.data.dataset import BLOCK
from mpcc_jax.errors import InputError, WeightsError
from mpcc_jax.evaluation.features import DEFAULT_RESIZE, ROUNDING, extract_features, extraction_protocol, to_uint8
from mpcc_jax.evaluation.fid import FewSamplesWarning
from mpcc_jax.evaluation.inception_weights import VARIABLE, InceptionWeights, find_weights, read_weights
from mpcc_jax.evaluation.reference import (
    ReferenceStatistics,
    check_protocols,
    generation_scores,
    load,
    measure_reference,
    save,
)

PUBLISHED_SAMPLES = 50_000
FEWEST_SAMPLES = 20
MANY_ON_CPU = 5000
NONE = "none"


def _digest(images):
    digest = hashlib.sha256(repr(images.shape).encode())
    for start in range(0, len(images), BLOCK):
        digest.update(np.ascontiguousarray(images[start : start + BLOCK]).tobytes())
    return digest.hexdigest()


def reference_path(dataset, pixels_sha256, weights, resize, settings):
    """Where the reference statistics of a data set are kept, by its pixels, the network and the resize.

    Args:
      dataset: the `Dataset`.
      pixels_sha256: of its images.
      weights: `InceptionWeights`.
      resize: one of `mpcc_jax.evaluation.features.RESIZES`.
      settings: `config.data`.

    Returns:
      `pathlib.Path`.
    """
    name = file_name("-".join(text for text in (dataset.name, dataset.version, dataset.split) if text))
    digest = hashlib.sha256(f"{pixels_sha256} {weights.sha256} {resize}".encode()).hexdigest()[:12]
    return cache_dir(settings) / "statistics" / f"{name}-{dataset.images.shape[1]}px-{digest}.npz"


def find_reference(dataset, weights, resize, settings, display):
    """The reference statistics of a data set: from the cache, or measured and kept there.

    Args:
      dataset: the `Dataset`, all of its images.
      weights: `InceptionWeights`.
      resize: one of `mpcc_jax.evaluation.features.RESIZES`.
      settings: `config.data`.
      display: a `Display`.

    Returns:
      `ReferenceStatistics`, and their path.
    """
    pixels = _digest(dataset.images)
    path = reference_path(dataset, pixels, weights, resize, settings)
    if path.exists():
        return load(path), path
    protocol = {
        **extraction_protocol(weights, resize),
        **{name: getattr(dataset, name) for name in ("name", "version", "split")},
        "pixels_sha256": pixels,
        "shape": list(dataset.images.shape[1:]),
    }
    with display.reading("Inception on real images") as progress:
        features, logits = extract_features(weights, dataset.images, resize, report=progress)
    reference = measure_reference(features, logits, protocol)
    save(path, reference)
    return reference, path


def _samples(trained, key, count, progress):
    """Batches of generated images, 8-bit; a function of the key and of how many."""
    size = trained.config.training.batch_size if trained.statistics == "batch" else trained.batch_size
    for index in itertools.count():
        done = index * size
        if done >= count:
            return
        images = trained.generate(jax.random.fold_in(key, index), size)
        yield to_uint8(images)[: count - done]
        progress(min(done + size, count), count)


class Measurement(NamedTuple):
    """What FID and the like are to be measured with; everything that can be wrong has been checked.

    Attributes:
      weights: `InceptionWeights`.
      resize: one of `mpcc_jax.evaluation.features.RESIZES`.
      reference: `ReferenceStatistics`, or None for those of the run's data.
      num_samples: generated images.
      protocol: of the generated images.
    """

    weights: InceptionWeights
    resize: str
    reference: ReferenceStatistics | None
    num_samples: int
    protocol: dict


def plan_measurement(
    trained, display, *, inception=None, resize=DEFAULT_RESIZE, reference=None, num_samples=PUBLISHED_SAMPLES
):
    """Finds and checks what FID, KID and Inception Score need, before anything expensive.

    Args:
      trained: the `TrainedModel`.
      display: a `Display`.
      inception: path of the weights, "download" or "none"; None takes them where they usually are, and goes without
        where they are not.
      resize: one of `mpcc_jax.evaluation.features.RESIZES`.
      reference: path of statistics, ours or published; None measures those of the data set, once.
      num_samples: generated images; 50 000 is usual.

    Returns:
      A `Measurement`; None without weights.

    Raises:
      WeightsError: if weights were asked for and are not there, or are not the right ones.
      DataError: if the reference cannot be read, or was made in another way.
      InputError: if there are fewer than 20 samples.
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
        display.warn(f"no FID, KID and Inception Score: {error}")
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
    given = load(pathlib.Path(reference).expanduser()) if reference else None
    if given is not None:
        check_protocols(protocol, given.protocol)
    if jax.default_backend() == "cpu" and num_samples > MANY_ON_CPU:
        display.warn(
            f"Inception on {num_samples} samples takes hours on a CPU. Take fewer by --num_samples, or go without by "
            f"--inception={NONE}."
        )
    return Measurement(weights, resize, given, num_samples, protocol)


def measure(measurement, trained, dataset, display):
    """FID, KID and Inception Score of a trained generator.

    Args:
      measurement: from `plan_measurement`.
      trained: the `TrainedModel`.
      dataset: the `Dataset` that it was trained on; the reference, unless the measurement has another.
      display: a `Display`.

    Returns:
      Figures by name with their protocol, as `mpcc_jax.evaluation.reference.generation_scores`.

    Raises:
      DataError: if the figures cannot be computed.
    """
    weights, resize, real, num_samples, protocol = measurement
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        if real is None:
            real, _ = find_reference(dataset, weights, resize, trained.config.data, display)
        with display.reading("Inception on generated images") as progress:
            samples = _samples(trained, jax.random.key(trained.seed), num_samples, progress)
            features, logits = extract_features(weights, samples, resize)
        scores = generation_scores(features, logits, real, protocol, np.random.default_rng(0))
    for warning in caught:
        display.warn(str(warning.message))
    return scores


def measure_statistics(config, dataset, display, *, inception=None, resize=DEFAULT_RESIZE, out=None):
    """Computes the reference statistics of a data set, once.

    Args:
      config: the configuration.
      dataset: the `Dataset`.
      display: a `Display`.
      inception: path of the weights, or "download"; None takes them where they usually are.
      resize: one of `mpcc_jax.evaluation.features.RESIZES`.
      out: where to write a copy; evaluation looks in the cache.

    Returns:
      `ReferenceStatistics`, and their path.

    Raises:
      WeightsError: if the weights are not there, or not the right ones.
    """
    if out and pathlib.Path(out).suffix != ".npz":
        raise InputError(f"--out is {str(out)!r}; allowed: a name that ends in .npz.")
    weights = read_weights(find_weights(inception, config.data.cache_dir))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FewSamplesWarning)
        reference, path = find_reference(dataset, weights, resize, config.data, display)
    for warning in caught:
        display.warn(str(warning.message))
    if out:
        path = pathlib.Path(out).expanduser()
        save(path, reference)
    return reference, path
