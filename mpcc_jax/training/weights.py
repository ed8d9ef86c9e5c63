"""What a run has learned, without its optimizers: read to be used, or to start another run from."""

import pathlib

import jax
import numpy as np

from mpcc_jax.training.checkpoints import CheckpointError, first_line


def find_checkpoints(path):
    """The checkpoints of a run.

    Args:
      path: a working directory, its checkpoints/, or one of the directories in there.

    Returns:
      Directories by iteration, sorted; empty if there are none.
    """
    path = pathlib.Path(path).expanduser()
    candidates = [path, *(folder for root in (path, path / "checkpoints") for folder in root.glob("[0-9]*"))]
    found = [folder for folder in candidates if (folder / "state").is_dir() and folder.name.isdigit()]
    return {int(folder.name): folder for folder in sorted(found, key=lambda folder: int(folder.name))}


def read_checkpoint(folder):
    """What one checkpoint has learned.

    Args:
      folder: one of `find_checkpoints`.

    Returns:
      Dictionary of "params", "buffers" and "ema", NumPy arrays inside.

    Raises:
      CheckpointError: if it cannot be read.
    """
    import orbax.checkpoint as ocp

    try:
        state, handler = (folder / "state").absolute(), ocp.PyTreeCheckpointHandler()
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(state).tree)
        restored = handler.restore(state, args=ocp.args.PyTreeRestore(restore_args=arguments))
        return {part: restored[part] for part in ("params", "buffers", "ema")}
    except Exception as error:
        # Whatever orbax or its storage raises for a damaged file.
        raise CheckpointError(f"the checkpoint {folder} cannot be read ({first_line(error)}).") from error


def read_weights(path):
    """The newest checkpoint of a run, to start another run from.

    Args:
      path: a working directory, its checkpoints/, or one of the directories in there.

    Returns:
      Dictionary of "params", "buffers" and "ema", NumPy arrays inside; and the path of the checkpoint.

    Raises:
      CheckpointError: if there is no checkpoint that can be read.
    """
    found = find_checkpoints(path)
    if not found:
        raise CheckpointError(f"--init_from is {str(path)!r}, and no checkpoint of a run is there.")
    newest = found[max(found)]
    try:
        return read_checkpoint(newest), newest
    except CheckpointError as error:
        raise CheckpointError(f"--init_from: {error}") from error


def with_weights(state, weights, layout, source):
    """A state at its start, with the weights of another run.

    Args:
      state: `TrainState` from `init_state`, perhaps of several runs.
      weights: from `read_weights`.
      layout: the `Layout`.
      source: where they are from.

    Returns:
      The `TrainState`.

    Raises:
      CheckpointError: names the first array that is missing, is too many, or has another shape.
    """
    ours = {part: getattr(state, part) for part in weights}
    wanted = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in _leaves(ours)}
    given = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in _leaves(weights)}
    leading = 1 if layout.num_seeds > 1 else 0
    for name in {**wanted, **given}:
        here = wanted[name].shape[leading:] if name in wanted else "nothing"
        there = given[name].shape if name in given else "nothing"
        if here != there:
            raise CheckpointError(
                f"--init_from: {source} is of another model: {name} is {there} there and {here} in this one. (A run of "
                "several seeds has to be exported first: launch.py --mode=export.)"
            )
    placed = [layout.place(np.broadcast_to(given[name], leaf.shape), leaf.sharding) for name, leaf in wanted.items()]
    return state.replace(**jax.tree.unflatten(jax.tree.structure(ours), placed))


def _leaves(tree):
    return jax.tree_util.tree_leaves_with_path(tree)
