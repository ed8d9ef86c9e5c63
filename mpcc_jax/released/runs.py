"""The authors' weights as a run of ours: a working directory around them."""

import pathlib

import jax.numpy as jnp

from mpcc_jax.cli.outputs import new_folder
from mpcc_jax.config import default_config, validate
from mpcc_jax.console import versions
from mpcc_jax.data.sources import find_source
from mpcc_jax.errors import ConfigError, DataError
from mpcc_jax.released.convert import from_released, released_shapes, to_complete_released, to_released, unused_tensors
from mpcc_jax.released.files import check_released, read_released, write_released
from mpcc_jax.released.settings import guess_data, infer_settings
from mpcc_jax.tensor_files import import_torch, read_tensors, write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.state import assemble_state, build_algorithm
from mpcc_jax.workdir import settings_of, write_json

UNUSED = "released_unused.npz"  # in the working directory: what the model has no place for, for the way back


def _facts(config, shape):
    """The data card as far as it is known without reading the data."""
    try:
        source = find_source(config.data)
        known = {"name": source.name, "version": source.version, "split": source.split}
    except DataError:
        known = {"name": config.data.name, "version": "", "split": config.data.split}
    unknown = {"origin": "", "count": None, "range": None, "labels": None}
    return {**known, **unknown, "shape": list(shape), "notes": ["named for imported weights, not looked at"]}


def _state(algorithm, weights, iteration):
    """A state around the weights, with fresh optimizers."""
    networks = {name: array for name, array in weights.tensors.items() if not name.startswith("G_ema.")}
    state = assemble_state(algorithm, *from_released(algorithm.model, networks))
    average = {"G" + name.removeprefix("G_ema"): weights.tensors[name] for name in weights.tensors.keys() - networks}
    if average:
        params, buffers = from_released(algorithm.model, {**networks, **average})
        state = state.replace(ema={"params": params["generator"], "buffers": buffers["generator"]})
    return state.replace(iteration=jnp.asarray(iteration, jnp.int32))


def _describe(config, weights, image_channels, guessed, iteration):
    """What was found, a line each."""
    model, size = config.model, config.data.resolution
    files = dict.fromkeys(path.name for path in weights.files.values())
    yield f"read {', '.join(files)}"
    yield (
        f"C = {model.channels}, J = {model.latent_dim}, K = {model.num_clusters}, {model.conditioning}, images of "
        f"{size}x{size}x{image_channels}, {'shared' if model.share_blocks else 'separate'} blocks, "
        f"{'projection' if config.training.conditional else 'unconditional'} discriminator"
    )
    yield f"data: {config.data.name}" + " (told from the shapes; --data_name says otherwise)" * guessed
    if "G_ema" not in weights.files:
        yield "there is no G_ema: the moving average starts as a copy of G"
    elif iteration < config.ema.start:
        yield (
            f"until iteration {config.ema.start} further training makes the moving average a copy of G; to keep that "
            "of G_ema, say by --iteration how long the weights were trained"
        )


def import_released(path, workdir, config=None, data_name=None, conditional=None, iteration=0, report=print):
    """Makes a working directory around the authors' weights, as if we had trained them: all commands work on it.

    What the shapes say goes into the configuration, whatever it was. Whether the discriminator projects on y cannot be
    seen from shapes, since D.embed is always stored; unless it is given, sv0 of D.embed tells, which is 1 until the
    embedding is used in training.

    Args:
      path: of the files, as for `mpcc_jax.released.files.read_released`.
      workdir: path of a new directory.
      config: everything else about the run, for further training; None is the default configuration.
      data_name: as `config.data.name`; None is that of `config`, or without one the paper's data set of that shape.
      conditional: whether the discriminator projects on y; None tells it from D.embed.
      iteration: how long the weights have been trained.
      report: called with every line about what was found.

    Returns:
      `pathlib.Path` of the directory.

    Raises:
      WeightsError, WeightsError: if the files are not there, damaged, or do not fit together.
      ConfigError: if the configuration cannot work, or the data cannot be told.
      WorkdirError: if the directory cannot be made, or is not empty.
    """
    weights = read_released(path)
    settings, image_channels = infer_settings(weights, conditional)
    guess = data_name is None and config is None
    kind = settings["model.conditioning"], settings["model.num_clusters"], image_channels
    config = default_config() if config is None else config.copy_and_resolve_references()
    if config.num_seeds != 1 or not 0 <= iteration < 2**31:
        raise ConfigError(
            f"--iteration is {iteration} and config.num_seeds {config.num_seeds}; allowed: 0 or more, and 1, since the "
            "weights are of one run."
        )
    config.update_from_flattened_dict(settings)
    config.data.name = guess_data(*kind) if guess else data_name or config.data.name
    validate(config)
    algorithm = build_algorithm(config, image_channels)
    check_released(weights, released_shapes(algorithm.model))
    state = _state(algorithm, weights, iteration)
    workdir = new_folder("--workdir", pathlib.Path(workdir))
    for line in _describe(config, weights, image_channels, guess, iteration):
        report(line)
    content = settings_of(config)
    write_json(workdir / "config.json", content)
    write_json(workdir / "data.json", _facts(config, algorithm.model.image_shape))
    unused = {name: weights.tensors[name] for name in unused_tensors(algorithm.model) if name in weights.tensors}
    write_tensors(workdir / UNUSED, unused)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(state, iteration, {"config": content, "versions": versions()})
    checkpoints.close()
    report(f"imported as iteration {iteration}: {workdir}")
    return workdir


def export_released(workdir, out, file_format="npz", report=print, **options):
    """Writes G, D, E, Prior and G_ema with every name that the authors' classes load strictly.

    Args:
      workdir: path of a run.
      out: path of a new folder.
      file_format: "npz", "safetensors", or "pth", which needs PyTorch.
      report: called with every line about what was done.
      **options: `iteration` and `seed` of `mpcc_jax.trained_model.load`.

    Returns:
      `pathlib.Path` of the folder.

    Raises:
      WorkdirError, CheckpointError: if there is no run, or the folder is not empty.
      ConfigError: if the run has no mixture prior, which the authors' `Prior` needs.
      WeightsError: if PyTorch is needed and not installed, or a file cannot be written.
    """
    if file_format == "pth":
        import_torch("--format=pth")
    trained = load(workdir, report=report, **options)
    params, buffers, average = trained.weights
    if not params["prior"]:
        raise ConfigError(
            f"{workdir} has config.prior.kind {trained.config.prior.kind!r}; allowed: 'gaussian_mixture', whose means "
            "and variances the authors' Prior stores."
        )
    kept = pathlib.Path(workdir).expanduser() / UNUSED
    tensors = to_complete_released(trained.model, params, buffers, read_tensors(kept) if kept.exists() else None)
    generator = to_released({"generator": average["params"]}, {"generator": average["buffers"]})
    tensors |= {"G_ema" + name[1:]: array for name, array in generator.items()}
    out = new_folder("--out", out)
    paths = write_released(out, tensors, f".{file_format}")
    if trained.config.variant != "released":
        report(
            f"the run has config.variant {trained.config.variant!r}: the authors' code upsamples and uses sigma in "
            "another way, so these weights give other images and clusters there"
        )
    report(f"iteration {trained.iteration} of {workdir} as {', '.join(path.name for path in paths)}: {out}")
    return out
