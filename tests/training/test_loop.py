"""The loop: every iteration once, and it stops on numbers that are not finite."""

import jax
import numpy as np
import pytest

from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.training.loop import check_finite, iterate, next_stop
from mpcc_jax.training.steps import compile_train_iterations
from tests.conftest import SMALL_IMAGES, layout_of


def test_every_iteration_runs_once():
    def program(state, examples, noise_key):
        count = len(examples.images)
        return state + count, {"loss": np.arange(state, state + count)}

    loader = DeviceLoader(np.zeros((4, 8, 8, 1), np.uint8), None, [jax.random.key(0)], 2, 8, layout_of())
    calls = list(iterate(program, loader, jax.random.key(1), 8, 8, 32, 10))
    assert [(state, iteration) for state, iteration, _ in calls if iteration % 10 == 0] == [
        (10, 10),
        (20, 20),
        (30, 30),
    ]
    assert calls[-1][:2] == (32, 32)
    np.testing.assert_array_equal(np.concatenate([metrics["loss"] for _, _, metrics in calls]), np.arange(8, 32))


def test_the_first_number_that_is_not_finite_is_named():
    metrics = {"a": np.asarray([0.0, np.inf, np.nan]), "b": np.asarray([0.0, 1.0, np.nan]), "c": np.zeros(3)}
    message = r"Iteration 9 is not finite: a = inf\. All gradients are finite\. Training"
    with pytest.raises(NonFiniteError, match=message):
        check_finite(10, metrics)
    norms = {"encoder": [0, np.nan, 0], "prior_generator": [0, np.inf, 0], "discriminator": [0, 0, np.nan]}
    metrics |= {f"gradient_norm_{name}": np.asarray(values) for name, values in norms.items()}
    with pytest.raises(NonFiniteError, match=r"a = inf\. The first network .* not finite: prior \(on Loss I\)\."):
        check_finite(10, metrics)
    with pytest.raises(NonFiniteError, match=r"Iteration 1 is not finite: no loss, but a gradient\. .*: encoder\."):
        check_finite(1, {"gradient_norm_encoder": np.asarray([np.nan])})
    check_finite(10, {"c": np.zeros(3)})


def test_the_seed_is_named():
    values = np.zeros((3, 4))
    values[1, 2] = values[2, 3] = np.nan
    with pytest.raises(NonFiniteError, match=r"Iteration 3 of seed 6 is not finite: loss = nan"):
        check_finite(4, {"loss": values}, range(5, 8))


@pytest.mark.parametrize("broken", ["weights", "images"])
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_training_that_breaks_names_the_discriminator(broken, algorithm, state):
    images = SMALL_IMAGES.astype(np.float32)
    if broken == "images":
        images[3, 2, 2] = np.nan
    else:
        kernel = state.params["generator"]["output_conv"]["kernel"]
        state.params["generator"]["output_conv"]["kernel"] = kernel.at[0, 0, 0, 0].set(np.nan)
    layout = layout_of()
    loader = DeviceLoader(images, None, [jax.random.key(5)], 2, 8, layout)
    program, key = compile_train_iterations(algorithm, layout), layout.replicate_keys(jax.random.key(6))
    ((_, iteration, metrics),) = iterate(program, loader, key, layout.place_tree(state), 0, 2, 2)
    with pytest.raises(
        NonFiniteError, match=r"Iteration [12] is not finite: .*loss_.* = nan.* finite: discriminator\."
    ):
        check_finite(iteration, jax.tree.map(np.asarray, metrics))


def test_where_training_pauses():
    assert next_stop(0, 100, 0, 30) == 30
    assert next_stop(30, 100, 45, 30) == 45
    assert next_stop(90, 100, 45, 30) == 100
