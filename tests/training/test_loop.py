"""The loop: what it reports, in calls of what length, and that it stops on numbers that are not finite."""

import jax
import numpy as np
import pytest

from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.training import loop
from mpcc_jax.training.loop import Trainer, check_finite
from mpcc_jax.training.state import abstract_state
from tests.conftest import SMALL_IMAGES, layout_of


class Program:
    """Stands for compiled training: counts iterations, and breaks where it is told."""

    def __init__(self, broken=None):
        self.calls, self.broken = [], broken

    def compile(self, algorithm, layout):
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
    monkeypatch.setattr(loop, "compile_train_iterations", program.compile)
    loader = DeviceLoader(np.zeros((4, 8, 8, 1), np.uint8), None, [jax.random.key(0)], 2, 8, layout_of())
    trainer = Trainer(algorithm, loader, jax.random.key(1), 10)
    observe = lambda done, state, metrics: f"seen at {done}"  # noqa: E731
    state, done = trainer.run(start, start, stop, lambda *report: reports.append(report), observe, should_stop)
    assert done == state
    return state, program.calls, reports


def test_every_iteration_runs_once_and_is_reported(monkeypatch, algorithm):
    state, calls, reports = run(monkeypatch, algorithm, 5, 32)
    assert state == 32
    assert calls == [1, 1, 1, 1, 1, 10, 10, 1, 1]
    ends = (6, 7, 8, 9, 10, 20, 30, 31, 32)
    assert [(iteration, seen) for iteration, _, seen in reports] == [(n, f"seen at {n}") for n in ends]
    np.testing.assert_array_equal(np.concatenate([metrics["loss"] for _, metrics, _ in reports]), np.arange(5, 32))


def test_a_run_that_is_asked_to_stop_finishes_its_call(monkeypatch, algorithm):
    answers = iter([False, True])
    state, calls, reports = run(monkeypatch, algorithm, 0, 1000, should_stop=lambda: next(answers))
    assert (state, calls) == (20, [10, 10])
    assert reports[-1][0] == 20


def test_a_run_that_is_not_finite_stops_and_says_where(monkeypatch, algorithm):
    with pytest.raises(NonFiniteError, match="Iteration 13 is not finite: loss = nan"):
        run(monkeypatch, algorithm, 0, 1000, broken=12)


def test_check_finite_names_all_broken_losses_of_the_first_iteration_and_the_first_network():
    metrics = {"a": np.asarray([0.0, np.inf, np.nan]), "b": np.asarray([0.0, 1.0, np.nan]), "c": np.zeros(3)}
    with pytest.raises(
        NonFiniteError, match=r"Iteration 9 is not finite: a = inf\. All gradients are finite\. Training"
    ):
        check_finite(7, metrics)
    norms = {"encoder": [0, np.nan, 0], "prior_generator": [0, np.inf, 0], "discriminator": [0, 0, np.nan]}
    metrics |= {f"gradient_norm_{name}": np.asarray(values) for name, values in norms.items()}
    with pytest.raises(NonFiniteError, match=r"a = inf\. The first network .* not finite: prior \(on Loss I\)\."):
        check_finite(7, metrics)
    metrics = {"gradient_norm_encoder": np.asarray([np.nan])}
    with pytest.raises(
        NonFiniteError, match=r"Iteration 1 is not finite: no loss, but a gradient\. .* finite: encoder\."
    ):
        check_finite(0, metrics)
    check_finite(7, {"c": np.zeros(3)})


def test_check_finite_names_the_seed():
    values = np.zeros((3, 4))
    values[1, 2] = values[2, 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"Iteration 3 of seed 6 is not finite: loss = nan"):
        check_finite(0, {"loss": values}, range(5, 8))


def train_on(images, algorithm, state):
    layout = layout_of()
    loader = DeviceLoader(images, None, [jax.random.key(5)], 2, 8, layout)
    trainer = Trainer(algorithm, loader, layout.replicate_keys(jax.random.key(6)), 2, layout)
    return trainer.run(layout.place_tree(state), 0, 4, lambda *_: None)


@pytest.mark.parametrize("calls", ["alike", "of another length"])
def test_compiling_ahead_changes_nothing(calls, algorithm, state):
    layout = layout_of()
    plain, _ = train_on(SMALL_IMAGES, algorithm, state)
    loader = DeviceLoader(SMALL_IMAGES, None, [jax.random.key(5)], 2, 8, layout)
    trainer = Trainer(algorithm, loader, layout.replicate_keys(jax.random.key(6)), 2, layout)
    trainer.compile_ahead(abstract_state(algorithm, layout), 0, 4 if calls == "alike" else 1)
    ahead, done = trainer.run(layout.place_tree(state), 0, 4, lambda *_: None)
    assert done == 4
    jax.tree.map(np.testing.assert_array_equal, ahead, plain)


def test_a_network_that_breaks_is_named(algorithm, state):
    kernel = state.params["generator"]["output_conv"]["kernel"]
    state.params["generator"]["output_conv"]["kernel"] = kernel.at[0, 0, 0, 0].set(np.nan)
    with pytest.raises(
        NonFiniteError, match=r"Iteration 1 is not finite: .*discriminator_loss_fake = nan.*discriminator\."
    ):
        train_on(SMALL_IMAGES, algorithm, state)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_nan_in_the_images_is_named(algorithm, state):
    images = SMALL_IMAGES.astype(np.float32)
    images[3, 2, 2] = np.nan
    pattern = r"Iteration [12] is not finite: .*discriminator_loss_real = nan.* not finite: discriminator\."
    with pytest.raises(NonFiniteError, match=pattern):
        train_on(images, algorithm, state)
