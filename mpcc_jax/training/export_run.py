"""One seed of a run of several as a run of its own."""

from pathlib import Path

import jax

from mpcc_jax.errors import CheckpointError, ConfigError, WorkdirError
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.sharding import make_layout, select_seed
from mpcc_jax.training.state import abstract_state, build_algorithm
from mpcc_jax.workdir import prepare_workdir, read_run, read_settings, versions, write_json


def export_seed(workdir: Path | str, seed: int, out: Path | str) -> int:
    """Makes a new folder `out` that looks as if one seed had been trained alone; returns its iteration."""
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
    folder = Path(workdir).expanduser() / "checkpoints"
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
    target.save(select_seed(state, seed - config.seed), iteration, {"config": settings, "versions": versions()})
    target.close()
    return iteration
