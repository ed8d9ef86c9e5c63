"""The loop around the compiled iterations, and the check that stops it on numbers that are not finite."""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from mpcc_jax.data.loader import DeviceLoader, StreamLoader
from mpcc_jax.errors import NonFiniteError
from mpcc_jax.training.state import TrainState

# In the order of Algorithm 1: what breaks first breaks the rest.
NETWORKS = {
    "gradient_norm_discriminator": "discriminator",
    "gradient_norm_generator": "generator",
    "gradient_norm_prior_generator": "prior (on Loss I)",
    "gradient_norm_encoder": "encoder",
    "gradient_norm_prior": "prior (on L_c + lambda_p L_p)",
}


def next_stop(iteration: int, total: int, *intervals: int) -> int:
    """Returns where training pauses next: at a multiple of an interval (0 is never), or at the end."""
    return min([total, *((iteration // every + 1) * every for every in intervals if every)])


def iterate(
    program: Callable,
    loader: DeviceLoader | StreamLoader,
    noise_key: jax.Array,
    state: TrainState,
    start: int,
    stop: int,
    iterations_per_call: int,
) -> Iterator[tuple[TrainState, int, dict[str, jax.Array]]]:
    """Dispatches compiled calls from iteration `start` to `stop`.

    Yields the state (valid until the next call reuses its memory), its iteration, and the metrics of the call, each
    [(seeds,) iterations] on the device: read them after the next call is dispatched, and the device never waits.
    """
    iteration = start
    for examples in loader.calls(start, stop, iterations_per_call):
        state, metrics = program(state, examples, noise_key)
        iteration += next(iter(metrics.values())).shape[-1]
        yield state, iteration, metrics


def check_finite(last: int, metrics: dict[str, np.ndarray], seeds: Sequence[int] | None = None) -> None:
    """Raises `NonFiniteError` for the first number that is not finite in the call that ended with iteration `last`.

    Metrics are [iterations], or [seeds, iterations] with several seeds. The message names iteration, loss and network.
    """
    runs = [(seed, {name: values[run] for name, values in metrics.items()}) for run, seed in enumerate(seeds or ())]
    broken = []
    for seed, values in runs or [(None, metrics)]:
        flags = np.logical_or.reduce([~np.isfinite(series) for series in values.values()])
        if flags.any():
            broken.append((int(flags.argmax()), len(flags), seed, values))
    if not broken:
        return
    first, length, seed, values = min(broken, key=lambda found: found[0])
    names = [name for name, series in values.items() if not np.isfinite(series[first])]
    network = next((NETWORKS[name] for name in NETWORKS if name in names), None)
    losses = ", ".join(f"{name} = {values[name][first]}" for name in names if name not in NETWORKS)
    raise NonFiniteError(
        f"Iteration {last - length + first + 1}{'' if seed is None else f' of seed {seed}'} is not finite: "
        f"{losses or 'no loss, but a gradient'}. "
        + (f"The first network whose gradient is not finite: {network}. " if network else "All gradients are finite. ")
        + "Training stopped. Lower config.training.learning_rate or config.training.prior_learning_rate, or check the "
        "images."
    )
