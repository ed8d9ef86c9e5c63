"""What a run starts from: its newest checkpoint, the state or the weights of another run, or its seed."""

import concurrent.futures
import dataclasses

import jax

from mpcc_jax.training.checkpoints import read_weights, with_weights
from mpcc_jax.training.state import abstract_state, compile_first_state


@dataclasses.dataclass(frozen=True)
class Start:
    """What is known before the training is traced.

    Attributes:
      iteration: of the newest checkpoint of the run itself; 0 if there is none.
      given: what another run gives to one without a checkpoint: all of its state, its weights by part, or nothing.
      origin: where those are.
      key: of the first state, for the programs of the run's layout.
      making: the program of a first state while it compiles; None where the state comes from a file.
    """

    iteration: int
    given: dict | None
    origin: str | None
    key: jax.Array
    making: concurrent.futures.Future | None


def prepare_start(run, init_from=None):
    """Reads what another run gives, and begins to compile what makes the first state.

    Args:
      run: the `experiment.Run`.
      init_from: path of another run, or of its exported state; a run that has a checkpoint goes on from that.

    Returns:
      A `Start`.

    Raises:
      CheckpointError, StateFilesError: if what is at `init_from` cannot be read.
    """
    newest, given, origin = max(run.checkpoints.iterations, default=0), None, None
    if init_from and not newest:
        given, origin = read_weights(init_from)
    key = run.layout.replicate_keys(*(keys.init for keys in run.keys))
    making = None if newest else compile_first_state(run.algorithm, key, run.layout)
    return Start(newest, given, origin, key, making)


def first_state(run, start):
    """The state that training goes on from.

    Args:
      run: the `experiment.Run`.
      start: from `prepare_start`.

    Returns:
      The `TrainState`, its iterations, and what of another run it or its weights are from, or None.

    Raises:
      CheckpointError: if there are checkpoints, and none can be read, or another run's weights do not fit.
      ConfigError, StateFilesError: if another run's state does not fit.
    """
    abstract = abstract_state(run.algorithm, run.layout)
    restored = run.checkpoints.restore(abstract, run.display.warn)
    if restored is not None:
        run.checkpoints.forget_after(restored[1])
        return *restored, None
    given, origin = start.given, start.origin
    state = start.making.result()(start.key)
    return (state if given is None else with_weights(state, given, run.layout, origin)), 0, origin
