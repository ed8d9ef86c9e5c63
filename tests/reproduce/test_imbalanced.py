"""The imbalanced digits: their sizes, the scores of planted clusters, a short run of an arm, the table."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mpcc_jax.data import load_dataset
from reproduce import imbalanced
from reproduce.imbalanced import LARGEST, NUM_CLASSES, classes_of, get_config, main, render_table, score, thin_out


def imbalanced_digits(seed):
    return thin_out(load_dataset(get_config("digits", seed)), LARGEST["digits"], seed)


def test_classes_fall_from_ten_to_one_in_an_order_of_the_seed():
    one, other = imbalanced_digits(0), imbalanced_digits(1)
    sizes = np.bincount(one.labels)
    assert 174 <= max(sizes) <= 178, "there are 174 of the rarest digit"
    assert min(sizes) == 18
    assert not np.array_equal(np.argsort(sizes), np.argsort(np.bincount(other.labels)))
    np.testing.assert_array_equal(imbalanced_digits(0).images, one.images)


def test_a_rare_class_that_is_merged_is_seen():
    labels = np.repeat(np.arange(NUM_CLASSES), [10, 10, 10, 10, 10, 10, 10, 2, 2, 2])
    clusters = (labels + 3) % NUM_CLASSES
    assert score(labels, clusters) == {"ari": 1.0, "nmi": pytest.approx(1.0), "recall_of_rarest": 1.0}
    np.testing.assert_array_equal(classes_of(labels, clusters), (np.arange(NUM_CLASSES) - 3) % NUM_CLASSES)
    merged = np.where(labels == 9, 0, labels)
    assert score(labels, merged)["recall_of_rarest"] == pytest.approx(2 / 3)
    noise = np.where(np.arange(len(labels)) % 10 == 0, -1, labels)
    assert score(labels, noise)["recall_of_rarest"] == pytest.approx(5 / 6), (
        "HDBSCAN's noise and its number of clusters"
    )


def test_the_table_has_paired_differences_to_fixed_weights():
    def record(arm, seed, ari):
        return {"arm": arm, "seed": seed, "scores": {"ari": ari, "nmi": 0.5, "recall_of_rarest": 0.5}}

    records = [record("fixed", seed, 0.5 + 0.1 * seed) for seed in range(3)]
    records += [record("em", seed, 0.6 + 0.1 * seed + 0.01 * (seed == 1)) for seed in range(3)]
    rows = [line.split(" | ") for line in render_table(records) if "MPCC" in line]
    assert [row[:2] for row in rows] == [["| MPCC, phi fixed", "3"], ["| MPCC, phi em", "3"]]
    assert rows[1][-1].startswith("+0.103 (+0.089 to +0.118)")


class Perfect:
    """A trained model whose clusters are the classes, one further."""

    def __init__(self, dataset, weights):
        self.dataset, self.prior = dataset, SimpleNamespace(log_weights=np.log(weights))

    def predict(self, images):
        return (self.dataset.labels + 1) % NUM_CLASSES


def test_each_arm_has_its_weights_and_a_record(tmp_path, capsys, monkeypatch):
    dataset, configs = imbalanced_digits(3), []
    shares = np.bincount(dataset.labels) / len(dataset.labels)
    cut_for = []
    monkeypatch.setattr(
        imbalanced,
        "make_warm_labels",
        lambda config, _: cut_for.append(config.prior.weights) or dataset.labels,
    )
    monkeypatch.setattr(imbalanced, "load", lambda workdir: Perfect(dataset, np.roll(shares, 1)))
    results = {"training_seconds": 1.0, "iterations": 7}
    monkeypatch.setattr(imbalanced, "train", lambda config, *_: configs.append(config) or results)
    arguments = ["--seeds=3,", "--arms=oracle,em,ward", f"--out={tmp_path}", f"--runs={tmp_path / 'runs'}"]
    main(arguments)
    oracle, em = (config.prior.weights for config in configs)
    np.testing.assert_allclose([float(part) for part in oracle.split(",")], shares, atol=1e-8)
    assert em == "em"
    assert cut_for == ["em"], "the shares belong to the map that training starts from, which is not the uniform one"
    record, ward = (
        json.loads((tmp_path / f"imbalanced/digits/{arm}_seed3.json").read_text()) for arm in ("em", "ward")
    )
    assert record["scores"]["ari"] == 1.0
    assert record["scores"]["distance_of_weights"] == pytest.approx(0.0, abs=1e-9)
    assert 0.4 < ward["scores"]["ari"] < 1.0
    assert "Ward linkage" in (tmp_path / "imbalanced.md").read_text()
    capsys.readouterr()
    main(arguments)
    assert "seed 3" not in capsys.readouterr().out, "what is there is not run again"
    with pytest.raises(SystemExit, match="--arms has 'best'; allowed: fixed, oracle, em"):
        main(["--arms=best"])
