"""Trained models to use elsewhere, and one seed of a run of several as a run of its own."""

import shlex
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from mpcc_jax.config import SHIPPED, flatten, get_config, settings_of
from mpcc_jax.errors import CheckpointError, ConfigError, printable
from mpcc_jax.printing import describe_scores
from mpcc_jax.tensor_files import write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.sharding import make_layout, select_seed
from mpcc_jax.training.state import abstract_state, build_algorithm
from mpcc_jax.workdir import (
    INCIDENTAL,
    MODEL_FILE,
    WARM_LABELS,
    new_folder,
    read_results,
    read_run,
    read_settings,
    versions,
    write_facts,
    write_json,
)

CARD = """\
# {title}

MPCC of {data} in {clusters} clusters: {iteration} iterations, variant {variant}, seed {seed}. Trained by

```sh
{command}
```

`mpcc_jax.load(FOLDER)`, `mpcc generate FOLDER`, `mpcc predict FOLDER PICTURES` and `mpcc report FOLDER` use it.
"""
SCORES = """
In {training_seconds:.0f} s on {machine}; on {evaluated_images} images:

| score | value |
| --- | --- |
"""


def _training_command(config: ConfigDict) -> str:
    """The shortest command that trains with a configuration, over one that is shipped."""
    found, settings = {}, flatten(settings_of(config))
    for path in sorted(SHIPPED.glob("[a-z]*.py")):
        base = flatten(settings_of(get_config(path)))
        found[path.stem] = {
            name: value
            for name, value in settings.items()
            if value != base[name] and not name.startswith(INCIDENTAL) and name != "data.cache_dir"
        }
    name = min(found, key=lambda name: len(found[name]))
    flags = (shlex.quote(f"--config.{field}={value}") for field, value in found[name].items())
    return printable(" ".join([f"mpcc train {name}", *flags]))


def _model_card(title: str, config: ConfigDict, facts: dict[str, Any], results: dict[str, Any], iteration: int) -> str:
    name = printable(" ".join(filter(None, (facts["name"], facts["version"], facts["split"]))))
    shape = "x".join(map(str, facts["shape"]))
    card = CARD.format(
        title=printable(title),
        data=f"{facts['count']} images {shape} of {name}",
        clusters=config.model.num_clusters,
        iteration=iteration,
        variant=config.variant,
        seed=config.seed,
        command=_training_command(config),
    )
    if not results:
        return card
    rows = [f"| {score} | {value} |\n" for score, value in describe_scores(results).items()]
    return card + SCORES.format(**results) + "".join(rows)


def _write_own_metrics(workdir: Path, seed: int | None, out: Path) -> None:
    """Copies the log, of a run of several seeds the lines of one."""
    if (workdir / "metrics.jsonl").exists():
        lines = (workdir / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        own = [line for line in lines if seed is None or f'"seed": {seed},' in line]
        (out / "metrics.jsonl").write_text("".join(own), encoding="utf-8")


def export_model(workdir: Path | str, out: Path | str, **model: Any) -> Path:
    """Writes what is needed to use a trained model into a new folder: weights, configuration, scores and a model card.

    Args:
      workdir: of the run.
      out: the new folder, which is returned; `load` and all commands but training take it as they take a run.
      model: of `mpcc_jax.load`, such as seed or iteration.
    """
    trained, facts = load(workdir, **model), read_run(workdir)[1]
    config, several = trained.config.copy_and_resolve_references(), trained.config.num_seeds > 1
    run = Path(workdir).expanduser()
    results = read_results(run / f"seed_{trained.seed}" if several else run)
    results = results if results.get("iteration") == trained.iteration else {}
    config.update({"seed": trained.seed, "num_seeds": 1})
    # Paths of the machine that it was trained on.
    config.data.update({"dir": "", "cache_dir": ""})
    facts |= {"origin": "", "notes": []}
    card = _model_card(Path(out).name, config, facts, results, trained.iteration)
    out = new_folder("--out", out)
    write_facts(out, settings_of(config), facts)
    if results:
        write_json(out / "results.json", results)
    (out / "README.md").write_text(card, encoding="utf-8")
    _write_own_metrics(run, trained.seed if several else None, out)
    # Last: a folder with weights is complete.
    tensors = flatten_dict(jax.device_get(trained.weights)._asdict(), sep="/")
    write_tensors(out / MODEL_FILE, {"iteration": np.asarray(trained.iteration), **tensors})
    return out


def export_seed(workdir: Path | str, seed: int, out: Path | str) -> int:
    """Makes a new folder `out` that looks as if one seed had been trained alone; returns its iteration.

    Scores and pictures come along if they are of that iteration.
    """
    config, facts = read_run(workdir)
    seeds = range(config.seed, config.seed + config.num_seeds)
    if config.num_seeds == 1 or seed not in seeds:
        raise ConfigError(f"--seed is {seed}; allowed: one of several seeds of {workdir}, which has {list(seeds)}.")
    out = new_folder("--out", out)
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
    write_facts(out, settings, facts)
    if (labels := folder.parent / WARM_LABELS).exists():
        shutil.copy(labels, out)
    member = folder.parent / f"seed_{seed}"
    if read_results(member).get("iterations") == iteration:
        shutil.copytree(member, out, dirs_exist_ok=True)
    _write_own_metrics(folder.parent, seed, out)
    target = Checkpoints(out / "checkpoints")
    target.save(select_seed(state, seed - config.seed), iteration, {"config": settings, "versions": versions()})
    target.close()
    return iteration
