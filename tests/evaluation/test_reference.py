"""Measuring, storing and reading reference statistics, and what may be compared with them."""

import dataclasses
import json

import numpy as np
import pytest

from mpcc_jax.errors import DataError
from mpcc_jax.evaluation import reference as module
from mpcc_jax.evaluation.fid import (
    FewSamplesWarning,
    feature_moments,
    frechet_distance,
    inception_score,
    kernel_distance,
)
from mpcc_jax.evaluation.reference import generation_scores, measure_reference, read_reference, write_reference

RNG = np.random.default_rng(0)
FEATURES, LOGITS = np.abs(RNG.normal(size=(60, 6))).astype(np.float32), RNG.normal(size=(60, 5)).astype(np.float32)
GENERATED, THEIR_LOGITS = FEATURES[:40] + 0.2, LOGITS[:40]
NETWORK = {"network": "w.pth", "network_sha256": "ab" * 32, "network_published": True, "resize": "tf1"}
REFERENCE_PROTOCOL = {**NETWORK, "name": "digits", "split": "train"}
PROTOCOL = {**NETWORK, "rounding": "round((x + 1) * 127.5)", "weights": "average", "batch_statistics": "standing"}

pytestmark = pytest.mark.filterwarnings("ignore::mpcc_jax.evaluation.fid.FewSamplesWarning")


def measured(**changes):
    return measure_reference(FEATURES, LOGITS, {**REFERENCE_PROTOCOL, **changes})


def scores_of(reference):
    return generation_scores(GENERATED, THEIR_LOGITS, reference, PROTOCOL, np.random.default_rng(1))


def test_a_reference_is_what_was_measured(monkeypatch):
    reference = measured()
    np.testing.assert_allclose(reference.mean, FEATURES.mean(axis=0, dtype=np.float64))
    np.testing.assert_allclose(reference.cov, np.cov(FEATURES.T.astype(np.float64)))
    np.testing.assert_array_equal(reference.features, FEATURES)
    assert reference.inception_score == inception_score(LOGITS)
    assert (reference.count, reference.protocol) == (60, REFERENCE_PROTOCOL)
    monkeypatch.setattr(module, "MOST_FEATURES", 20)
    rows = {tuple(row) for row in measured().features}
    assert len(rows) == 20
    assert rows < {tuple(row) for row in FEATURES}


@pytest.mark.parametrize("change", [{}, {"features": None, "inception_score": None, "count": None}])
def test_stored_and_read_again(tmp_path, change):
    reference = dataclasses.replace(measured(), **change)
    write_reference(tmp_path / "new" / "digits.npz", reference)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["digits.npz"]
    again = read_reference(tmp_path / "new" / "digits.npz")
    for field in dataclasses.fields(reference):
        np.testing.assert_equal(getattr(again, field.name), getattr(reference, field.name), err_msg=field.name)
    assert again.mean.dtype == again.cov.dtype == np.float64


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "digits.npz"
    write_reference(path, measured())
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(DataError, match="No space left"):
        write_reference(path, measured())
    assert [(entry.name, entry.read_bytes()) for entry in tmp_path.iterdir()] == [("digits.npz", before)]


def test_published_statistics_are_read_and_say_what_is_unknown(tmp_path):
    ours = measured()
    np.savez(tmp_path / "fid_stats_digits.npz", mu=ours.mean, sigma=ours.cov)
    reference = read_reference(tmp_path / "fid_stats_digits.npz")
    assert (reference.count, reference.features, reference.inception_score) == (None, None, None)
    assert reference.protocol["origin"] == "as published: count, network and resize are unknown"
    assert reference.protocol["network_sha256"] is reference.protocol["resize"] is None
    scores = scores_of(reference)
    assert scores["fid"] == scores_of(ours)["fid"]
    assert scores["kid"] is None
    assert scores["kid_missing"].startswith("the reference fid_stats_digits.npz has no features")
    assert scores["reference_inception_score"] is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"mu": np.zeros(3)}, "holds mu; expected mean, cov and facts"),
        ({"mu": np.zeros(3), "sigma": np.eye(4)}, r"\(3,\) and \(4, 4\)"),
        ({"mu": np.full(3, np.nan), "sigma": np.eye(3)}, "NaN"),
        ({"mu": np.zeros(3), "sigma": np.triu(np.ones((3, 3)))}, "not symmetric"),
        ({"mean": np.zeros(3), "cov": np.eye(3), "facts": np.asarray("{")}, "damaged"),
        ({"mean": np.zeros(3), "cov": np.eye(3), "facts": np.asarray("{}")}, "damaged"),
        ({"mu": np.asarray([object()]), "sigma": np.eye(1)}, "damaged"),
    ],
)
def test_damaged_statistics_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(DataError, match=message):
        read_reference(tmp_path / "stats.npz")


def test_files_cut_off_or_absent_are_refused(tmp_path):
    write_reference(tmp_path / "digits.npz", measured())
    (tmp_path / "cut.npz").write_bytes((tmp_path / "digits.npz").read_bytes()[:500])
    with pytest.raises(DataError, match="damaged"):
        read_reference(tmp_path / "cut.npz")
    with pytest.raises(DataError, match=r"gone\.npz"):
        read_reference(tmp_path / "gone.npz")


def test_scores_are_those_of_fid_with_the_whole_protocol():
    reference = measured()
    with pytest.warns(FewSamplesWarning, match="generated images of 40 images"):
        scores = scores_of(reference)
    mean, cov = feature_moments(GENERATED)
    assert scores["fid"] == frechet_distance(mean, cov, reference.mean, reference.cov)
    kid = kernel_distance(GENERATED, FEATURES, np.random.default_rng(1))
    assert scores["kid"] == {"mean": kid.mean, "sd": kid.sd, "num_subsets": 100, "subset_size": 40}
    score = inception_score(THEIR_LOGITS)
    assert scores["inception_score"] == {"mean": score.mean, "sd": score.sd, "num_splits": 10}
    assert scores["reference_inception_score"]["mean"] == inception_score(LOGITS).mean
    assert scores["protocol"] == {**PROTOCOL, "num_samples": 40, "reference": {**REFERENCE_PROTOCOL, "count": 60}}
    assert json.loads(json.dumps(scores)) == scores


@pytest.mark.parametrize(("key", "other"), [("resize", "pytorch_fid"), ("network_sha256", "cd" * 32)])
def test_protocols_that_differ_are_refused_and_named(key, other):
    with pytest.raises(DataError, match=f"{key}={PROTOCOL[key]} .*{key}={other}"):
        scores_of(measured(**{key: other}))
