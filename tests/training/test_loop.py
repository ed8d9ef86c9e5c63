"""The loop: what it reports, in calls of what length, and that it stops on numbers that are not finite."""

import jax
import numpy as np
import pytest

from mpcc_jax.data.loaders import DeviceLoader
from mpcc_jax.training import loop
from mpcc_jax.training.loop import NonFiniteError, Trainer, check_finite
from tests.conftest import SMALL_IMAGES


class Program:
    """Stands for compiled training: counts iterations, and breaks where it is told."""

    def __init__(self, broken=None):
        self.calls, self.broken = [], broken

    def compile(self, algorithm):
        def run(state, examples, noise_key):
            count = len(examples.images)
            self.calls.append(count)
            metrics = {"loss": np.arange(state, state + count, dtype=np.float32), "other": np.zeros(count)}
            if self.broken is not None and state <= self.broken < state + count:
                metrics["loss"][self.broken - state] = np.nan
            return state + count, metrics

        return run


def run(monkeypatch, algorithm, start, stop, broken=None, should_stop=lambda: False):
    program, reports = Program(broken), []
    monkeypatch.setattr(loop, "compile_train_many", program.compile)
    loader = DeviceLoader(np.zeros((4, 8, 8, 1), np.uint8), None, jax.random.key(0), 2, 8)
    trainer = Trainer(algorithm, loader, jax.random.key(1), 10)
    state, done = trainer.run(start, start, stop, lambda *report: reports.append(report), should_stop)
    assert done == state
    return state, program.calls, reports


def test_every_iteration_runs_once_and_is_reported(monkeypatch, algorithm):
    state, calls, reports = run(monkeypatch, algorithm, 5, 32)
    assert state == 32
    assert calls == [5, 10, 10, 2]
    assert [iteration for iteration, _ in reports] == [10, 20, 30, 32]
    np.testing.assert_array_equal(np.concatenate([metrics["loss"] for _, metrics in reports]), np.arange(5, 32))


def test_a_run_that_is_asked_to_stop_finishes_its_call(monkeypatch, algorithm):
    answers = iter([False, True])
    state, calls, reports = run(monkeypatch, algorithm, 0, 1000, should_stop=lambda: next(answers))
    assert (state, calls) == (20, [10, 10])
    assert reports[-1][0] == 20


def test_a_run_that_is_not_finite_stops_and_says_where(monkeypatch, algorithm):
    with pytest.raises(NonFiniteError, match="Iteration 13 is not finite: loss = nan"):
        run(monkeypatch, algorithm, 0, 1000, broken=12)


def test_check_finite_names_all_broken_metrics_of_the_first_iteration():
    metrics = {"a": np.asarray([0.0, np.inf, np.nan]), "b": np.asarray([0.0, 1.0, np.nan]), "c": np.zeros(3)}
    with pytest.raises(NonFiniteError, match=r"Iteration 9 is not finite: a = inf\. Training"):
        check_finite(7, metrics)
    check_finite(7, {"c": np.zeros(3)})


def test_real_training_that_breaks_is_stopped(algorithm, state):
    kernel = state.params["generator"]["output_conv"]["kernel"]
    state.params["generator"]["output_conv"]["kernel"] = kernel.at[0, 0, 0, 0].set(np.nan)
    loader = DeviceLoader(SMALL_IMAGES, None, jax.random.key(5), 2, 8)
    trainer = Trainer(algorithm, loader, jax.random.key(6), 2)
    with pytest.raises(NonFiniteError, match=r"Iteration 1 is not finite: discriminator_loss_fake = nan"):
        trainer.run(state, 0, 4, lambda *_: None)
