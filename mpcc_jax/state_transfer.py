"""A whole training state on its way: from the checkpoint of a run to files, and from files into a new run."""

import pathlib

import jax

from mpcc_jax.config import ConfigError
from mpcc_jax.console import versions
from mpcc_jax.mesh import make_layout
from mpcc_jax.outputs import new_folder
from mpcc_jax.state_files import DTYPES, INDEX, StateFilesError, paths_of, write_state
from mpcc_jax.training.checkpoints import CheckpointError, first_line
from mpcc_jax.training.state import abstract_state, build_algorithm
from mpcc_jax.training.weights import find_checkpoints
from mpcc_jax.workdir import differing_fields, read_run, read_settings, settings_of


def _read_checkpoint(folder, abstract):
    import orbax.checkpoint as ocp

    try:
        state = (folder / "state").absolute()
        return ocp.StandardCheckpointHandler().restore(state, args=ocp.args.StandardRestore(abstract))
    except Exception as error:
        # Whatever orbax or its storage raises for a damaged file.
        raise CheckpointError(f"the checkpoint {folder} cannot be read ({first_line(error)}).") from error


def export_state(workdir, out, dtype="float32", iteration=None, report=print):
    """Writes everything that a run needs to go on elsewhere: parameters, buffers, averages, optimizers, iteration.

    A run of several seeds is exported as a whole. `--init_from` of training takes the folder: in "float32" the new run
    is, bit for bit on the same devices, what the old one would have become; in "bfloat16" it is only near.

    Args:
      workdir: path of a run.
      out: path of a new folder.
      dtype: of floating-point arrays in the files, "float32" or "bfloat16".
      iteration: of the checkpoint; None is the newest.
      report: called with a line about what was done.

    Returns:
      `pathlib.Path` of the folder.

    Raises:
      WorkdirError, CheckpointError: if there is no run, or no such checkpoint, or the folder is not empty.
      ConfigError: if there is no such dtype.
      TensorFileError: if a file cannot be written.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"--dtype is {dtype!r}; allowed: {', '.join(DTYPES)}.")
    config, facts = read_run(workdir)
    found = find_checkpoints(pathlib.Path(workdir).expanduser() / "checkpoints")
    if not found:
        raise CheckpointError(f"{workdir} has no checkpoint yet.")
    if iteration is not None and iteration not in found:
        raise CheckpointError(f"{workdir} has no checkpoint of iteration {iteration}; there are {list(found)}.")
    iteration = max(found) if iteration is None else iteration
    algorithm = build_algorithm(config, facts["shape"][-1])
    config.mesh.devices = 0
    layout = make_layout(config, jax.local_devices()[:1])
    state = _read_checkpoint(found[iteration], abstract_state(algorithm, layout))
    out = new_folder("--out", out)
    about = {"config": read_settings(workdir), "data": facts, "versions": versions()}
    paths = write_state(out, state, iteration, about, dtype)
    size = sum(path.stat().st_size for path in paths)
    report(f"iteration {iteration} of {workdir} in {len(paths)} files, {size / 2**20:.1f} MiB, {dtype}: {out}")
    return out


def place_state(exported, abstract_state, layout, source):
    """A state that was read, where training wants it.

    Args:
      exported: `ExportedState`.
      abstract_state: the state's shapes, types and shardings, as `jax.ShapeDtypeStruct`s.
      layout: the `Layout`.
      source: where it is from.

    Returns:
      The `TrainState`.

    Raises:
      StateFilesError: names the first array that is missing, is too many, or has another shape.
    """
    wanted, arrays = paths_of(abstract_state), exported.arrays
    for name in {**wanted, **arrays}:
        here = wanted[name].shape if name in wanted else "nothing"
        there = arrays[name].shape if name in arrays else "nothing"
        if here != there:
            raise StateFilesError(
                f"--init_from: {source} is of another model, or of another number of seeds: {name} is {there} there "
                f"and {here} in this run. Its configuration is in {INDEX}."
            )
    placed = [layout.place(arrays[name].astype(leaf.dtype), leaf.sharding) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(abstract_state), placed)


def continue_from(exported, source, config, abstract_state, layout, warn):
    """The state that a new run goes on from, as if it were the run that was exported.

    Args:
      exported: `ExportedState`.
      source: where it is from.
      config: the configuration of the new run.
      abstract_state: its state's shapes, types and shardings.
      layout: the `Layout`.
      warn: called with a sentence if the configuration is another one.

    Returns:
      The `TrainState`, and its iterations.

    Raises:
      StateFilesError: if it is of another model.
      ConfigError: if there is nothing left to train.
    """
    if exported.iteration >= config.training.iterations:
        raise ConfigError(
            f"config.training.iterations is {config.training.iterations}; allowed: above {exported.iteration}, the "
            f"iterations that --init_from={source} has already."
        )
    changes = differing_fields(exported.config, settings_of(config))
    if changes:
        warn(f"{source} is of a run with another configuration: {'; '.join(changes)}.")
    return place_state(exported, abstract_state, layout, source), exported.iteration
