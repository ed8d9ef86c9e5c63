"""Selection of a run and consensus: planted partitions, renamed clusters, renamed runs."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from mpcc_jax.evaluation.encode import Encoding
from mpcc_jax.evaluation.selection import choose_run, compare_runs, consensus

K, N = 4, 400
TRUTH = np.repeat(np.arange(K), N // K)
RNG = np.random.default_rng(0)
CENTRES = 6 * np.eye(K)[TRUTH]


def encode(clusters, confidence=0.9):
    """Latents that show the truth, and a run's clusters."""
    memberships = np.full((N, K), (1 - confidence) / (K - 1))
    memberships[np.arange(N), clusters] = confidence
    latents = CENTRES + RNG.normal(size=CENTRES.shape)
    return Encoding(latents, np.zeros_like(latents), np.log(memberships), np.zeros(N))


def spoil(share, seed):
    """The truth with so many images in a random cluster."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(N) < share, rng.integers(0, K, N), TRUTH)


RUNS = [encode(spoil(0.5, 1)), encode(spoil(0.4, 2)), encode(TRUTH), encode(spoil(0.6, 3))]


def test_the_planted_run_is_chosen_in_any_order():
    assert choose_run(compare_runs(RUNS)) == 2
    assert choose_run(compare_runs(RUNS[::-1])) == 1


def test_names_of_clusters_do_not_matter():
    renamed = [run._replace(log_membership=run.log_membership[:, RNG.permutation(K)]) for run in RUNS]
    for before, after in zip(compare_runs(RUNS), compare_runs(renamed), strict=True):
        assert before == pytest.approx(after)


def test_one_run_is_chosen():
    scores = compare_runs(RUNS[:1])
    assert choose_run(scores) == 0
    assert scores[0]["agreement"] == 1


def test_a_single_cluster_is_worst():
    scores = compare_runs([encode(np.zeros(N, int)), encode(spoil(0.3, 4)), encode(spoil(0.3, 5))])
    assert scores[0]["silhouette"] == -1
    assert choose_run(scores) > 0


def test_consensus_of_renamed_copies_is_the_partition():
    copies = [np.array([3, 1, 0, 2])[TRUTH], TRUTH, TRUTH + 5]
    found, agreement = consensus(copies, K)
    assert adjusted_rand_score(found, TRUTH) == 1
    np.testing.assert_array_equal(agreement, 1.0)


def test_consensus_is_better_than_each_of_independent_runs():
    clusters = [spoil(0.3, seed) for seed in range(5)]
    found, agreement = consensus(clusters, K)
    right = adjusted_rand_score(found, TRUTH)
    assert right > max(adjusted_rand_score(own, TRUTH) for own in clusters) + 0.1
    names = np.array([np.bincount(TRUTH[found == k]).argmax() for k in range(K)])
    wrong = names[found] != TRUTH
    assert agreement[wrong].mean() < agreement[~wrong].mean()


def test_consensus_of_one_run_is_that_run():
    found, agreement = consensus([spoil(0.3, 0)], K)
    assert adjusted_rand_score(found, spoil(0.3, 0)) == 1
    np.testing.assert_array_equal(agreement, 1.0)
