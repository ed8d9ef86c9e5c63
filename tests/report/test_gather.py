"""Findings of a tiny model that fit the report, and the history that a run has logged."""

import json

import numpy as np
import pytest

from mpcc_jax.evaluation.evaluate import evaluate
from mpcc_jax.report.gather import find_extremes, gather_findings, read_history
from tests.conftest import SMALL_IMAGES
from tests.trained import LABELS, tiny_dataset, tiny_trained

MEMBERS = [{"seed": 3, "selected": True}]
CONTEXT = {"members": MEMBERS, "title": "small", "generation": None, "history": {}, "config": {}, "environment": {}}


def test_extremes():
    typical, atypical = find_extremes(np.asarray([5.0, 1.0, 3.0, 2.0, 4.0, 0.0]), np.asarray([0, 0, 0, 0, 0, 2]), 3, 2)
    assert [own.tolist() for own in typical] == [[0, 4], [], [5]]
    assert [own.tolist() for own in atypical] == [[1, 3], [], []]


def test_history_of_a_seed_survives_half_a_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_history("~/metrics.jsonl") == {}
    lines = [{"iteration": i, "seed": seed, "loss": i + seed, "sizes": [1]} for i in (2, 4) for seed in (0, 1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"iteration": 6, "lo')
    for path in ("~/metrics.jsonl", tmp_path / "metrics.jsonl"):
        history = read_history(path, seed=1)
        assert set(history) == {"loss"}
        np.testing.assert_array_equal(history["loss"], [[2, 4], [3, 5]])


@pytest.mark.parametrize(("labels", "chosen"), [(LABELS, slice(None)), (None, np.arange(3, 12))])
def test_findings_are_of_the_chosen_images(labels, chosen):
    trained, dataset, images = tiny_trained(iteration=4), tiny_dataset(labels), SMALL_IMAGES[chosen]
    evaluation = evaluate(trained, dataset, chosen)
    findings = gather_findings(evaluation, trained, dataset, chosen, **CONTEXT)
    assert findings.samples.shape == (3, 8, 8, 8, 1)
    assert findings.interpolations.shape == (len(images) // 2 if labels is None else 6, 9, 8, 8, 1)
    sizes = evaluation.scores["cluster_sizes"]
    assert [len(row) for row in findings.typical] == [min(8, (size + 1) // 2) for size in sizes]
    np.testing.assert_array_equal(findings.outliers, images[np.argsort(trained.log_prob(images))])
    assert findings.data["count"] == 20
    assert findings.members == MEMBERS
    np.testing.assert_array_equal(findings.latents, evaluation.encoding.mean)
    assert findings.scores["silhouette"] == evaluation.scores["silhouette"]
    if labels is None:
        assert findings.labels is findings.confusion is findings.majorities is None
    else:
        np.testing.assert_array_equal(findings.labels, LABELS)
        np.testing.assert_array_equal(findings.confusion.sum(axis=0), sizes)
