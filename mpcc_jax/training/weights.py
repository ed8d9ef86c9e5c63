"""Starting a run from what another one has learned."""

import pathlib

import jax
import numpy as np

from mpcc_jax.training.checkpoints import CheckpointError, first_line


def read_weights(path):
    """What a run has learned, without its optimizers: to start another run from.

    Args:
      path: a working directory, its checkpoints/, or one of the directories in there.

    Returns:
      Dictionary of "params", "buffers" and "ema", NumPy arrays inside; and the path of the checkpoint.

    Raises:
      CheckpointError: if there is no checkpoint that can be read.
    """
    import orbax.checkpoint as ocp

    path = pathlib.Path(path).expanduser()
    candidates = [path, *(folder for root in (path, path / "checkpoints") for folder in root.glob("[0-9]*"))]
    found = [folder for folder in candidates if (folder / "state").is_dir() and folder.name.isdigit()]
    if not found:
        raise CheckpointError(f"--init_from is {str(path)!r}, and no checkpoint of a run is there.")
    newest = max(found, key=lambda folder: int(folder.name))
    try:
        with ocp.PyTreeCheckpointer() as checkpointer:
            state = (newest / "state").absolute()
            tree = checkpointer.metadata(state).item_metadata.tree
            arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
            restored = checkpointer.restore(state, restore_args=arguments)
        return {part: restored[part] for part in ("params", "buffers", "ema")}, newest
    except Exception as error:
        # Whatever orbax or its storage raises for a damaged file.
        raise CheckpointError(f"--init_from: {newest} cannot be read ({first_line(error)}).") from error


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
