"""Statistics of real images that generated ones are compared with: measuring, storing, reading, and the comparison."""

import dataclasses
import json
import os
import pathlib
import tempfile

import numpy as np

from mpcc_jax.errors import DataError
from mpcc_jax.evaluation.fid import (
    Score,
    check_features,
    feature_moments,
    frechet_distance,
    inception_score,
    kernel_distance,
)

MOST_FEATURES = 10_000
# What two sets of features must agree on.
COMPARED = ("network_sha256", "resize")
# What a generated set has to say of itself; of a reference, what is not known is None.
REQUIRED = ("network", *COMPARED, "rounding")


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """Inception's features of a set of real images, summarised.

    Attributes:
      mean: [2048], float64.
      cov: [2048, 2048], float64.
      count: images, or None if unknown.
      features: of at most 10 000 of them, for KID, [n, 2048]; or None.
      inception_score: `Score` of the real images, or None.
      protocol: how they were made, by name: network, network_sha256, resize, name, split and more; None is unknown.
    """

    mean: np.ndarray
    cov: np.ndarray
    count: int | None
    features: np.ndarray | None
    inception_score: Score | None
    protocol: dict


def _check_rows(features, logits):
    if logits is not None and len(logits) != len(features):
        raise DataError(f"{len(features)} rows of features, {len(logits)} of logits; they are of the same images.")


def measure_reference(features, logits, protocol, num_splits=10):
    """Summarises the features of real images.

    Args:
      features: [N, 2048].
      logits: [N, 1008], or None for no Inception Score.
      protocol: from `features.extraction_protocol`, with name and split of the data set and whatever else matters.
      num_splits: of the Inception Score.

    Returns:
      `ReferenceStatistics`.

    Raises:
      DataError: if there are too few samples, or NaN among them, or N differs.

    Warns:
      FewSamplesWarning: below 10 000 samples.
    """
    _check_rows(features, logits)
    mean, cov = feature_moments(features, "features of the reference")
    score = None if logits is None else inception_score(logits, num_splits)
    # Fixed, so that the same images give the same file.
    chosen = np.sort(np.random.default_rng(0).choice(len(features), min(len(features), MOST_FEATURES), replace=False))
    return ReferenceStatistics(
        mean, cov, len(features), np.asarray(features[chosen], np.float32), score, dict(protocol)
    )


def save(path, reference):
    """Writes statistics as .npz, complete or not at all.

    Args:
      path: of the file, ending in .npz.
      reference: `ReferenceStatistics`.

    Raises:
      DataError: if the name has another ending or the disk refuses.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise DataError(f"statistics cannot be written to {path}; allowed: a name that ends in .npz.")
    facts = {"count": reference.count, "inception_score": reference.inception_score, "protocol": reference.protocol}
    arrays = {"mean": reference.mean, "cov": reference.cov, "facts": np.asarray(json.dumps(facts))}
    if reference.features is not None:
        arrays["features"] = reference.features
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(prefix=".partial-", dir=path.parent, delete=False) as file:
            partial = pathlib.Path(file.name)
            np.savez(file, **arrays)
        partial.chmod(0o644)
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"statistics cannot be written to {path} ({error.strerror or error}).") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def _of_ours(arrays, path):
    facts = json.loads(str(arrays["facts"]))
    score = facts["inception_score"] and Score(*facts["inception_score"])
    return ReferenceStatistics(
        arrays["mean"], arrays["cov"], facts["count"], arrays.get("features"), score, facts["protocol"]
    )


def _as_published(arrays, path):
    protocol = {
        **dict.fromkeys(("network", "network_sha256", "resize", "split")),
        "name": path.name,
        "origin": "as published: count, network and resize are unknown",
    }
    mean, cov = (np.asarray(arrays[key], np.float64) for key in ("mu", "sigma"))
    return ReferenceStatistics(mean, cov, None, None, None, protocol)


def _check(reference):
    mean, cov = reference.mean, reference.cov
    if mean.ndim != 1 or cov.shape != (len(mean), len(mean)):
        raise DataError(f"mean and covariance are {mean.shape} and {cov.shape}; expected [D] and [D, D]")
    if not (np.isfinite(mean).all() and np.isfinite(cov).all()):
        raise DataError("mean or covariance has values that are NaN or infinite")
    if not np.allclose(cov, cov.T, rtol=1e-5, atol=1e-6 * np.abs(cov).max()):
        raise DataError("the covariance is not symmetric")
    if reference.features is not None:
        check_features(reference.features, "features")
        if reference.features.shape[1] != len(mean):
            raise DataError(f"features are of shape {reference.features.shape}, the mean {mean.shape}")


def load(path):
    """Reads statistics from `save`, or published ones (`fid_stats_*.npz` with mu and sigma). Nothing is unpickled.

    Args:
      path: of the file.

    Returns:
      `ReferenceStatistics`; published ones have no count, no features, and a protocol that says what is unknown.

    Raises:
      DataError: if the file is not there, damaged, or of another kind.
    """
    path = pathlib.Path(path)
    try:
        # NumPy leaves a file open that it opened itself and finds damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = dict(stored.items())
    except FileNotFoundError as error:
        raise DataError(f"there are no statistics of a reference at {path}.") from error
    except Exception as error:  # zip, zlib, header and system errors alike
        raise DataError(f"{path} is damaged or no .npz of plain arrays ({error}).") from error
    kinds = {("mean", "cov", "facts"): _of_ours, ("mu", "sigma"): _as_published}
    read = next((read for keys, read in kinds.items() if set(keys) <= set(arrays)), None)
    if read is None:
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; expected mean, cov and facts as `save` writes "
            "them, or mu and sigma as published."
        )
    try:
        reference = read(arrays, path)
        _check(reference)
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the statistics in {path} are damaged: {error}.") from error
    return reference


def check_protocols(generated, reference):
    """Checks that generated and real features may be compared.

    Args:
      generated: protocol of the generated images.
      reference: protocol of the reference.

    Raises:
      DataError: if the generated one lacks a fact, or network or resize are known of both and differ.
    """
    missing = [key for key in REQUIRED if generated.get(key) is None]
    if missing:
        raise DataError(
            f"the protocol of the generated images does not say {', '.join(missing)}; "
            "features.extraction_protocol gives all but the rounding, which is features.ROUNDING after to_uint8."
        )
    for key in COMPARED:
        theirs = reference.get(key)
        if theirs is not None and theirs != generated[key]:
            raise DataError(
                f"the generated images were measured with {key}={generated[key]} (network {generated['network']}), the "
                f"reference with {key}={theirs} (network {reference.get('network')}). Figures of the two mean nothing; "
                "measure one of them again."
            )


def generation_scores(features, logits, reference, protocol, rng, num_splits=10):
    """FID, KID and Inception Score of generated images, and everything a reader needs to compare them.

    Args:
      features: of generated images, [N, 2048].
      logits: of the same images, [N, 1008].
      reference: `ReferenceStatistics`.
      protocol: from `features.extraction_protocol`, with the rounding, and what else the caller knows: average of the
        weights, statistics of batch norm, and so on. Anything that JSON can hold.
      rng: `numpy.random.Generator`, for the subsets of KID.
      num_splits: of the Inception Score.

    Returns:
      By name: fid; kid (mean, sd, num_subsets, subset_size), or None with the reason under kid_missing;
      inception_score (mean, sd, num_splits); reference_inception_score, likewise or None; protocol, which adds
      num_samples and the reference's own protocol with its count.

    Raises:
      DataError: if network or resize differ.
      DataError: if features are too few or not finite, or of another width.

    Warns:
      FewSamplesWarning: below 10 000 samples.
    """
    check_protocols(protocol, reference.protocol)
    _check_rows(features, logits)
    check_features(features, "features of the generated images")
    if features.shape[1] != len(reference.mean):
        raise DataError(f"{features.shape[1]} features; the reference has {len(reference.mean)}.")
    score = inception_score(logits, num_splits)._asdict()
    mean, cov = feature_moments(features, "features of the generated images")
    scores = {"fid": frechet_distance(mean, cov, reference.mean, reference.cov), "kid": None}
    if reference.features is None:
        scores["kid_missing"] = (
            f"the reference {reference.protocol.get('name')} has no features, only mean and covariance"
        )
    else:
        scores["kid"] = kernel_distance(features, reference.features, rng)._asdict()
    real = reference.inception_score
    return {
        **scores,
        "inception_score": score,
        "reference_inception_score": real and real._asdict(),
        "protocol": {
            **protocol,
            "num_samples": len(features),
            "reference": {**reference.protocol, "count": reference.count},
        },
    }
