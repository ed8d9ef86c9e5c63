"""Statistics of real images that generated ones are compared with: measuring, storing, reading, and the comparison."""

import dataclasses
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float

from mpcc_jax.errors import DataError, WeightsError
from mpcc_jax.evaluation.fid import (
    Score,
    check_features,
    check_moments,
    feature_moments,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from mpcc_jax.tensor_files import read_tensors
from mpcc_jax.workdir import replace_file

MOST_FEATURES = 10_000
# What two sets of features must agree on.
COMPARED = ("network_sha256", "resize")


@dataclasses.dataclass(frozen=True, eq=False)
class ReferenceStatistics:
    """Inception's features of a set of real images, summarised; None is unknown."""

    mean: np.ndarray  # [2048], float64
    cov: np.ndarray  # [2048, 2048], float64
    count: int | None  # images
    features: np.ndarray | None  # of at most 10 000 of them, for KID, [n, 2048]
    inception_score: Score | None  # of the real images
    protocol: dict  # how they were made: network, network_sha256, resize, name, split and more


def measure_reference(
    features: Float[np.ndarray, "N D"], logits: Float[np.ndarray, "N classes"], protocol: dict
) -> ReferenceStatistics:
    """Summarises the features of real images; raises and warns as `feature_moments` and `inception_score`."""
    mean, cov = feature_moments(features, "features of the reference")
    # Fixed, so that the same images give the same file.
    chosen = np.sort(np.random.default_rng(0).choice(len(features), min(len(features), MOST_FEATURES), replace=False))
    kept = np.asarray(features[chosen], np.float32)
    return ReferenceStatistics(mean, cov, len(features), kept, inception_score(logits), protocol)


def write_reference(path: str | Path, reference: ReferenceStatistics) -> None:
    """Writes statistics as .npz, complete or not at all; raises DataError if the disk refuses."""
    facts = {"count": reference.count, "inception_score": reference.inception_score, "protocol": reference.protocol}
    arrays = {"mean": reference.mean, "cov": reference.cov, "facts": np.asarray(json.dumps(facts))}
    if reference.features is not None:
        arrays["features"] = reference.features
    try:
        with replace_file(Path(path)) as file:
            np.savez(file, **arrays)
    except OSError as error:
        raise DataError(f"statistics cannot be written to {path} ({error.strerror or error}).") from error


def read_reference(path: str | Path) -> ReferenceStatistics:
    """Reads statistics of `write_reference`, or published ones (`fid_stats_*.npz` with mu and sigma).

    Nothing is unpickled. Raises DataError if the file is not there, damaged, or of another kind.
    """
    path = Path(path)
    try:
        arrays = read_tensors(path)
    except WeightsError as error:
        raise DataError(f"statistics of a reference: {error}") from error
    if {"mu", "sigma"} <= set(arrays):
        origin = "as published: count, network and resize are unknown"
        protocol = {**dict.fromkeys(("network", *COMPARED, "split")), "name": path.name, "origin": origin}
        facts = {"count": None, "inception_score": None, "protocol": protocol}
        arrays = {"mean": arrays["mu"], "cov": arrays["sigma"], "facts": json.dumps(facts)}
    if not {"mean", "cov", "facts"} <= set(arrays):
        raise DataError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}; expected mean, cov and facts as mpcc_jax writes "
            "them, or mu and sigma as published."
        )
    try:
        mean, cov = (np.asarray(arrays[name], np.float64) for name in ("mean", "cov"))
        check_moments(mean, cov)
        if not np.allclose(cov, cov.T, rtol=1e-5, atol=1e-6 * np.abs(cov).max()):
            raise DataError("the covariance is not symmetric.")
        features, facts = arrays.get("features"), json.loads(str(arrays["facts"]))
        if features is not None:
            check_features(features, "features")
            if features.shape[1] != len(mean):
                raise DataError(f"features are of shape {features.shape}, the mean {mean.shape}.")
        score = facts["inception_score"] and Score(*facts["inception_score"])
        return ReferenceStatistics(mean, cov, facts["count"], features, score, facts["protocol"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"the statistics in {path} are damaged: {error}") from error


def check_protocols(generated: dict, reference: dict) -> None:
    """Raises DataError if network or resize of generated and real features are known and differ."""
    for key in COMPARED:
        if reference.get(key) not in (None, generated[key]):
            raise DataError(
                f"the generated images were measured with {key}={generated[key]} (network {generated['network']}), the "
                f"reference with {key}={reference[key]} (network {reference.get('network')}). Figures of the two mean "
                "nothing; measure one of them again."
            )


def generation_scores(
    features: Float[np.ndarray, "N D"],
    logits: Float[np.ndarray, "N classes"],
    reference: ReferenceStatistics,
    protocol: dict,
    rng: np.random.Generator,
) -> dict:
    """Computes FID, KID and Inception Score of generated images, and says how they were measured.

    Returns:
      By name: fid; kid (mean, sd, num_subsets, subset_size), or None with the reason under kid_missing;
      inception_score (mean, sd, num_splits); reference_inception_score, likewise or None; protocol, which adds
      num_samples and the reference's own protocol with its count.

    Raises:
      DataError: if network or resize differ, or features are too few, not finite, or of another width.
    """
    check_protocols(protocol, reference.protocol)
    score, real = inception_score(logits), reference.inception_score
    mean, cov = feature_moments(features, "features of the generated images")
    if reference.features is None:
        name = reference.protocol.get("name")
        kid = {"kid": None, "kid_missing": f"the reference {name} has no features, only mean and covariance"}
    else:
        kid = {"kid": kernel_distance(features, reference.features, rng)._asdict()}
    about_reference = {**reference.protocol, "count": reference.count}
    return {
        "fid": frechet_distance(mean, cov, reference.mean, reference.cov),
        **kid,
        "inception_score": score._asdict(),
        "reference_inception_score": real and real._asdict(),
        "protocol": {**protocol, "num_samples": len(features), "reference": about_reference},
    }
