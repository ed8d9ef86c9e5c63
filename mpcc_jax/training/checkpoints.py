"""Checkpoints of a run: the whole state, written by orbax while training goes on, complete or absent."""

import atexit
import contextlib
import functools
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax.traverse_util import unflatten_dict
from orbax.checkpoint import checkpoint_managers as policies

from mpcc_jax.errors import CheckpointError, WeightsError
from mpcc_jax.tensor_files import read_tensors
from mpcc_jax.training.sharding import Layout
from mpcc_jax.training.state import TrainState
from mpcc_jax.workdir import MODEL_FILE, find_run


@jax.jit
def _is_finite(state: chex.ArrayTree) -> jax.Array:
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in floats]))


# The next iterations reuse the memory of the state while the copy is still being written.
_copy = jax.jit(functools.partial(jax.tree.map, jnp.copy))


def _score(metrics: dict[str, float]) -> float:
    return metrics["score"]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _find_storage_error(error: BaseException) -> BaseException:
    """Returns the error of storage that others followed: orbax may fail again while it stops."""
    chain = [error]
    while inner := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(inner)
    return next((found for found in reversed(chain) if isinstance(found, OSError)), error)


def _is_damage(error: Exception) -> bool:
    """Whether a file is missing or broken; orbax wraps what tensorstore says of it in a bare `Exception`."""
    return isinstance(error, ValueError | KeyError | FileNotFoundError) or type(error) is Exception


def _shapes_by_name(tree: Any) -> dict[str, tuple[int, ...]]:
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): tuple(leaf.shape) for path, leaf in paths}


def _check_same_shapes(found: Any, expected: Any, source: str, leading: int = 0) -> None:
    """Says which array of a checkpoint does not fit, before it is read."""
    found, expected = _shapes_by_name(found), _shapes_by_name(expected)
    for name in {**expected, **found}:
        here, there = expected.get(name, "nothing"), found.get(name, "nothing")
        if here != there and (here == "nothing" or there == "nothing" or here[leading:] != there):
            here = here if here == "nothing" else here[leading:]
            raise CheckpointError(f"{source} is of another model: {name} is {there} there and {here} in this one.")


@functools.cache
def _alias(directory: Path) -> Path:
    """Returns a link to a directory whose name orbax would take for a pattern, or tensorstore cannot take at all."""
    if not re.search(r"[][*?\ud800-\udfff]", str(directory)):
        return directory
    folder = Path(tempfile.mkdtemp(prefix="mpcc_jax_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "link").symlink_to(directory)
    return folder / "link"


class Checkpoints:
    """The checkpoints in one directory, by iteration."""

    def __init__(
        self,
        directory: Path,
        keep_last: int = 3,
        keep_every: int = 0,
        *,
        keep_best: bool = False,
        read_only: bool = False,
    ):
        """Opens or makes the directory, and removes what a killed process left half-written unless it is `read_only`.

        The newest `keep_last`, the multiples of `keep_every` (0: none) and with `keep_best` the best one are kept.
        """
        kept = [policies.LatestN(keep_last)]
        if keep_every:
            kept.append(policies.EveryNSteps(keep_every))
        if keep_best:
            kept.append(policies.BestN(get_metric_fn=_score, n=1))
        if not read_only:
            directory.mkdir(parents=True, exist_ok=True)
        self.directory, self._path = directory, _alias(directory.absolute())
        self._keep_best, self._read_only = keep_best, read_only
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy(kept),
                best_fn=_score if keep_best else None,
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    @property
    def iterations(self) -> list[int]:
        """Iterations with a complete checkpoint, sorted."""
        return sorted(self._manager.all_steps())

    @property
    def best(self) -> int | None:
        """Iteration of the checkpoint with the highest score; None without `keep_best` or checkpoints."""
        return self._manager.best_step() if self._keep_best else None

    def save(self, state: chex.ArrayTree, iteration: int, facts: dict[str, Any], score: float | None = None) -> None:
        """Copies a finite state and writes it while training goes on; nothing if that iteration is saved already.

        `facts` are kept beside it as JSON; `score` is what `keep_best` compares, None is worse than any.
        """
        if iteration in self._manager.all_steps():
            return
        if not _is_finite(state):
            with self._reporting():
                self._manager.wait_until_finished()
            raise CheckpointError(
                f"the state after iteration {iteration} is not finite, so it is not saved. {self._describe()}"
            )
        items = ocp.args.Composite(state=ocp.args.StandardSave(_copy(state)), facts=ocp.args.JsonSave(facts))
        metrics = {"score": -math.inf if score is None else score} if self._keep_best else None
        with self._reporting():
            self._manager.save(iteration, args=items, metrics=metrics)

    def restore(self, abstract: chex.ArrayTree, warn: Callable[[str], None]) -> tuple[Any, int] | None:
        """Returns the newest state that can be read, and its iteration; None if there is no checkpoint.

        Newer ones that are damaged are moved aside, never deleted. `abstract` has shapes, types and shardings.
        """
        damaged, found = [], self.iterations
        for iteration in reversed(found):
            try:
                state = self._read(iteration, abstract)
            except CheckpointError:
                raise
            except Exception as error:
                if not _is_damage(error):
                    raise CheckpointError(
                        f"the checkpoint of iteration {iteration} in {self.directory} could not be read now "
                        f"({_first_line(error)}). Nothing was changed; start again when that is over."
                    ) from error
                warn(f"the checkpoint of iteration {iteration} cannot be read ({_first_line(error)}).")
                damaged.append(iteration)
                continue
            if damaged and not self._read_only:
                self._move_aside(damaged, warn)
            return state, iteration
        if found:
            raise CheckpointError(
                f"none of the checkpoints {found} in {self.directory} can be read. Nothing was changed; if they are "
                "damaged, move that folder away to start anew."
            )
        return None

    def _read(self, iteration: int, abstract: chex.ArrayTree) -> Any:
        folder = self._path / str(iteration) / "state"
        stored = ocp.PyTreeCheckpointHandler().metadata(folder).tree
        _check_same_shapes(stored, abstract, f"the checkpoint of iteration {iteration} in {self.directory}")
        items = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return self._manager.restore(iteration, args=items).state

    def _move_aside(self, iterations: list[int], warn: Callable[[str], None]) -> None:
        """Training is about to write these iterations again."""
        if jax.process_count() > 1:
            raise CheckpointError(
                f"the checkpoints {iterations} in {self.directory} cannot be read, and with several processes they are "
                "not moved. Nothing was changed; move them out of that folder to go on from the one before."
            )
        aside = self.directory.with_name(f"{self.directory.name}_unreadable")
        aside.mkdir(exist_ok=True)
        for iteration in iterations:
            target, number = aside / str(iteration), 1
            while target.exists():
                number += 1
                target = aside / f"{iteration}_{number}"
            shutil.move(self.directory / str(iteration), target)
            warn(f"it was moved to {target}.")
        self._manager.reload()

    def close(self) -> None:
        """Waits until all is written."""
        with self._reporting():
            self._manager.wait_until_finished()
            self._manager.close()

    def _describe(self) -> str:
        complete = sorted(find_checkpoints(self.directory))  # orbax counts those that are being written, too
        return f"Checkpoints that are complete: {complete or 'none'} in {self.directory}."

    @contextlib.contextmanager
    def _reporting(self) -> Iterator[None]:
        """Turns what storage raises into a `CheckpointError`."""
        try:
            yield
        except (OSError, ValueError, RuntimeError) as error:
            cause, several = _find_storage_error(error), jax.process_count() > 1
            lost = several and not isinstance(cause, OSError)
            others = " Perhaps another process has ended: see what it printed." if lost else ""
            raise CheckpointError(
                f"a checkpoint could not be written in {self.directory} ({_first_line(cause)}). "
                f"Training stopped.{others} {self._describe()}"
            ) from error


def find_checkpoints(path: Path | str) -> dict[int, Path]:
    """Returns the folders of complete checkpoints by iteration, below a run, its checkpoints or one of them."""
    path = Path(path).expanduser()
    candidates = [path, *(folder for root in (path, path / "checkpoints") for folder in root.glob("[0-9]*"))]
    found = [folder for folder in candidates if (folder / "state").is_dir() and folder.name.isdigit()]
    return {int(folder.name): folder for folder in sorted(found, key=lambda folder: int(folder.name))}


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """Returns what one checkpoint has learned, params, buffers and ema, in NumPy."""
    try:
        state, handler = _alias(folder.absolute()) / "state", ocp.PyTreeCheckpointHandler()
        arguments = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(state).tree)
        restored = handler.restore(state, args=ocp.args.PyTreeRestore(restore_args=arguments))
        return {part: restored[part] for part in ("params", "buffers", "ema")}
    except Exception as error:
        if not _is_damage(error):
            raise
        raise CheckpointError(f"the checkpoint {folder} cannot be read ({_first_line(error)}).") from error


def read_model(folder: Path) -> tuple[dict[str, Any], int]:
    """Returns what an exported model has learned, params, buffers and ema, and its iteration."""
    try:
        tensors = read_tensors(folder / MODEL_FILE)
        iteration = int(tensors.pop("iteration"))
    except (WeightsError, KeyError) as error:
        raise CheckpointError(f"the model in {folder} cannot be read ({error}).") from error
    return unflatten_dict(tensors, sep="/"), iteration


def read_weights(path: Path | str) -> tuple[dict[str, Any], Path]:
    """Returns what `--init_from` names, an exported model or the newest checkpoint of another run, and its folder."""
    folder = find_run(path)
    if (folder / MODEL_FILE).exists():
        return read_model(folder)[0], folder
    found = find_checkpoints(path)
    if not found:
        raise CheckpointError(f"--init_from is {str(path)!r}, and no checkpoint of a run is there.")
    newest = found[max(found)]
    try:
        return read_checkpoint(newest), newest
    except CheckpointError as error:
        raise CheckpointError(f"--init_from: {error}") from error


def with_weights(state: TrainState, weights: dict[str, Any], layout: Layout, source: Path) -> TrainState:
    """Returns a state at its start with the weights of another run; those of one seed go to all seeds."""
    before = {part: getattr(state, part) for part in weights}
    hint = " (Export one seed of a run of several first.)" if layout.num_seeds == 1 else ""
    _check_same_shapes(weights, before, f"--init_from: {source}{hint}", leading=len(layout.seed_axes))
    after = jax.tree.map(
        lambda leaf, weight: layout.place(np.broadcast_to(weight, leaf.shape), leaf.sharding), before, weights
    )
    return state.replace(**after)
