"""Checkpoints of a run: the whole state, written beside training by orbax, complete or absent."""

import contextlib
import functools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.errors import CheckpointError


@jax.jit
def _is_finite(state):
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


# The next iterations reuse the memory of the state while the copy is still being written.
_copy = jax.jit(functools.partial(jax.tree.map, jnp.copy))


def _score(metrics):
    return metrics["score"]


def first_line(error):
    """What a message says first.

    Args:
      error: an exception.

    Returns:
      A line of text.
    """
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class Checkpoints:
    """The checkpoints in one directory, by iteration.

    Attributes:
      directory: `pathlib.Path`.
    """

    def __init__(self, directory, keep_last=3, keep_every=0, *, keep_best=False, read_only=False):
        """Opens or makes the directory, and removes what a killed process left half-written.

        Args:
          directory: `pathlib.Path`.
          keep_last: how many of the newest are kept.
          keep_every: checkpoints of iterations that this divides are kept too; 0 is none.
          keep_best: whether the one of the highest score is kept too.
          read_only: whether to leave the directory alone: the run may be going on, and what is half-written is its own.
        """
        import orbax.checkpoint as ocp
        from orbax.checkpoint import checkpoint_managers as policies

        kept = [policies.LatestN(keep_last)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        if keep_best:
            kept.append(policies.BestN(get_metric_fn=_score, n=1))
        self.directory = directory
        self._ocp, self._keep_best = ocp, keep_best
        self._manager = ocp.CheckpointManager(
            directory.absolute(),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                best_fn=_score if keep_best else None,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    @property
    def iterations(self):
        """Iterations with a complete checkpoint, sorted."""
        return sorted(self._manager.all_steps())

    @property
    def best(self):
        """Iteration of the checkpoint with the highest score; None without `keep_best` or checkpoints."""
        return self._manager.best_step() if self._keep_best else None

    def save(self, state, iteration, facts, score=None):
        """Copies the state and writes it while training goes on; nothing if that iteration is saved already.

        Args:
          state: the `TrainState`.
          iteration: finished iterations.
          facts: a dictionary that JSON can hold, kept beside the state.
          score: that `keep_best` compares; None is worse than any.

        Raises:
          CheckpointError: if the state is not finite, or this or the checkpoint before could not be written.
        """
        if iteration in self._manager.all_steps():
            return
        if not _is_finite(state):
            raise CheckpointError(
                f"the state after iteration {iteration} is not finite, so it is not saved. {self._what_is_left()}"
            )
        args = self._ocp.args
        metrics = {"score": -math.inf if score is None else score} if self._keep_best else None
        with self._reporting():
            self._manager.save(
                iteration,
                args=args.Composite(state=args.StandardSave(_copy(state)), facts=args.JsonSave(facts)),
                metrics=metrics,
            )

    def restore(self, abstract_state, report):
        """The newest checkpoint that can be read. Damaged ones are reported and removed.

        Args:
          abstract_state: the state's shapes, types and shardings, as `jax.ShapeDtypeStruct`s.
          report: called with a sentence for every damaged checkpoint.

        Returns:
          The `TrainState` and its iteration; None if there is no checkpoint.

        Raises:
          CheckpointError: if there are checkpoints, and none can be read.
        """
        args, found = self._ocp.args, self.iterations
        for iteration in reversed(found):
            try:
                restored = self._manager.restore(
                    iteration, args=args.Composite(state=args.StandardRestore(abstract_state))
                )
                return restored.state, iteration
            except Exception as error:
                # Whatever orbax or its storage raises for a damaged file.
                report(f"the checkpoint of iteration {iteration} cannot be read ({first_line(error)}).")
        if found:
            raise CheckpointError(
                f"none of the checkpoints {found} in {self.directory} can be read. Is the model another one? If they "
                "are damaged, remove that folder to start anew."
            )
        return None

    def forget_after(self, iteration):
        """Removes checkpoints beyond an iteration, which training is about to reach again.

        Args:
          iteration: of the checkpoint that was restored.
        """
        for later in [one for one in self.iterations if one > iteration]:
            self._manager.delete(later)

    def close(self):
        """Waits until all is written.

        Raises:
          CheckpointError: if something could not be written.
        """
        with self._reporting():
            self._manager.wait_until_finished()
            self._manager.close()

    def _what_is_left(self):
        return f"Checkpoints that are complete: {self.iterations or 'none'} in {self.directory}."

    @contextlib.contextmanager
    def _reporting(self):
        """Turns what storage raises into a `CheckpointError`."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"a checkpoint could not be written in {self.directory} ({first_line(error)}). Training stopped. "
                f"{self._what_is_left()}"
            ) from error


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
