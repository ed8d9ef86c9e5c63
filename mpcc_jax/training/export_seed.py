"""One seed of a run of several as a run of its own."""

import pathlib

import jax

from mpcc_jax.console import versions
from mpcc_jax.errors import CheckpointError, ConfigError, WorkdirError
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.sharding import make_layout, member
from mpcc_jax.training.state import abstract_state, build_algorithm
from mpcc_jax.workdir import prepare_workdir, read_run, read_settings, write_json


def export_seed(workdir, seed, out):
    """Makes a working directory that looks as if one seed had been trained alone: it can go on from there.

    Args:
      workdir: path of a run with `config.num_seeds` above 1.
      seed: one of its seeds.
      out: path of a new directory.

    Raises:
      WorkdirError: if there is no run, or the new directory is not empty.
      ConfigError: if the run has no such seed.
      CheckpointError: if the run has no checkpoint.
    """
    config, facts = read_run(workdir)
    seeds = range(config.seed, config.seed + config.num_seeds)
    if config.num_seeds == 1 or seed not in seeds:
        raise ConfigError(f"--seed is {seed}; allowed: one of several seeds of {workdir}, which has {list(seeds)}.")
    out = prepare_workdir(out)
    if any(out.iterdir()):
        raise WorkdirError(f"--out is {str(out)!r}, which is not empty. Choose another.")
    algorithm = build_algorithm(config, facts["shape"][-1])
    config.mesh.devices = 0
    layout = make_layout(config, jax.local_devices()[:1])
    folder = pathlib.Path(workdir).expanduser() / "checkpoints"
    source = Checkpoints(folder, read_only=True) if folder.is_dir() else None
    restored = source and source.restore(abstract_state(algorithm, layout), print)
    if restored is None:
        raise CheckpointError(f"{workdir} has no checkpoint yet.")
    source.close()
    state, iteration = restored

    settings = {**read_settings(workdir), "seed": seed, "num_seeds": 1}
    write_json(out / "config.json", settings)
    write_json(out / "data.json", facts)
    target = Checkpoints(out / "checkpoints")
    target.save(member(state, seed - config.seed), iteration, {"config": settings, "versions": versions()})
    target.close()
    print(f"seed {seed} of {workdir} after {iteration} iterations: {out}")
