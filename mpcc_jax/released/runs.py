"""The authors' weights as a run of ours, and back."""

import pathlib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.config import settings_of, validate
from mpcc_jax.data.sources import find_source
from mpcc_jax.errors import ConfigError, DataError, WeightsError
from mpcc_jax.released.convert import from_released, to_complete_released, to_released, unused_tensors
from mpcc_jax.released.files import read_released, write_released
from mpcc_jax.tensor_files import import_torch, read_tensors, write_tensors
from mpcc_jax.trained_model import load
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.state import Algorithm, TrainState, assemble_state, build_algorithm
from mpcc_jax.workdir import new_folder, versions, write_facts

UNUSED = "released_unused.npz"  # in the folder of the run: what the model has no place for, for the way back


def _describe_data(config: ConfigDict, image_shape: tuple[int, int, int]) -> dict:
    """The data card, as far as it is known without reading the data."""
    try:
        source = find_source(config.data)
        card = {"name": source.name, "version": source.version, "split": source.split}
    except DataError:
        card = {"name": config.data.name, "version": "", "split": config.data.split}
    notes = ["named for imported weights, not read"]
    return {
        **card,
        "origin": "",
        "count": None,
        "range": None,
        "labels": None,
        "shape": list(image_shape),
        "notes": notes,
    }


def _make_state(algorithm: Algorithm, tensors: dict[str, np.ndarray], iteration: int) -> TrainState:
    """A state around the weights, with fresh optimizers; without G_ema the moving average is a copy of G."""
    state = assemble_state(algorithm, *from_released(algorithm.model, tensors))
    average = {name.replace("G_ema.", "G."): array for name, array in tensors.items() if name.startswith("G_ema.")}
    if average:
        params, buffers = from_released(algorithm.model, {**tensors, **average})
        state = state.replace(ema={"params": params["generator"], "buffers": buffers["generator"]})
    return state.replace(iteration=jnp.asarray(iteration, jnp.int32))


def _check_use(config: ConfigDict, tensors: dict[str, np.ndarray], iteration: int, warn: Callable[[str], None]) -> None:
    """What shapes do not say: shared blocks, the projection, the variant, the moving average."""
    copies = [name for name in tensors if name.startswith("E.blocks.")] if config.model.share_blocks else []
    for name in copies:
        if not np.array_equal(tensors[name], tensors["D" + name[1:]]):
            raise WeightsError(
                f"{name} differs from D{name[1:]}: the weights were probably made with config.model.share_blocks False."
            )
    # The authors' classes always save D.embed; its sv0 is 1 until the embedding is used in training.
    if not config.training.conditional and np.any(tensors.get("D.embed.sv0", 1) != 1):
        warn("D.embed has been in use: these weights were probably trained with config.training.conditional True")
    if config.variant != "released":
        warn(
            f"config.variant is {config.variant!r}: weights that the authors' code has trained need 'released', which "
            "upsamples and uses sigma as that code does"
        )
    if any(name.startswith("G_ema.") for name in tensors) and iteration < config.ema.start:
        warn(
            f"until iteration {config.ema.start} further training makes the moving average a copy of G; to keep G_ema, "
            "say by --iteration how long the weights were trained"
        )


def import_released(
    released_dir: str | pathlib.Path,
    workdir: str | pathlib.Path,
    config: ConfigDict,
    iteration: int = 0,
    warn: Callable[[str], None] = print,
) -> pathlib.Path:
    """Makes a run of the authors' weights, as if we had trained them: all commands work on it.

    Args:
      released_dir: of the files, as for `mpcc_jax.released.files.read_released`.
      workdir: a new folder, which is returned.
      config: of the run; the weights have to fit it.
      iteration: how long the weights have been trained.
      warn: called with a sentence for what the weights do not say.

    Raises:
      WeightsError: if the files are not there, damaged, or do not fit the configuration.
      ConfigError: if the configuration cannot work.
      WorkdirError: if the folder cannot be made, or is not empty.
    """
    if config.num_seeds != 1 or not 0 <= iteration < 2**31:
        raise ConfigError(
            f"--iteration is {iteration} and config.num_seeds {config.num_seeds}; allowed: 0 or more, and 1, since the "
            "weights are of one run."
        )
    validate(config)
    tensors = read_released(released_dir)
    image_channels = tensors.get("G.output_layer.2.bias", np.empty(0)).size
    if image_channels not in (1, 3):
        raise WeightsError(f"G.output_layer.2.bias has {image_channels} values; allowed: 1 or 3, the image channels.")
    algorithm = build_algorithm(config, image_channels)
    state = _make_state(algorithm, tensors, iteration)
    _check_use(config, tensors, iteration, warn)
    workdir = new_folder("--workdir", workdir)
    write_facts(workdir, settings_of(config), _describe_data(config, algorithm.model.image_shape))
    unused = {name: tensors[name] for name in unused_tensors(algorithm.model) if name in tensors}
    write_tensors(workdir / UNUSED, unused)
    checkpoints = Checkpoints(workdir / "checkpoints")
    checkpoints.save(state, iteration, {"config": settings_of(config), "versions": versions()})
    checkpoints.close()
    return workdir


def export_released(
    workdir: str | pathlib.Path,
    out: str | pathlib.Path,
    file_format: str = "npz",
    warn: Callable[[str], None] = print,
    *,
    iteration: int | None = None,
    seed: int | None = None,
) -> pathlib.Path:
    """Writes G, D, E, Prior and G_ema into a new folder, with every name that the authors' classes load strictly.

    Args:
      workdir: of a run.
      out: the new folder, which is returned.
      file_format: "npz", "safetensors", or "pth", which needs PyTorch.
      warn: called with a sentence for what the authors' code computes in another way.
      iteration: of the checkpoint; None is the newest that can be read.
      seed: which of the seeds that were trained at once.

    Raises:
      WorkdirError, CheckpointError: if there is no run, or the folder is not empty.
      ConfigError: if the run has no mixture prior, which the authors' `Prior` needs.
      WeightsError: if PyTorch is needed and not installed, or a file cannot be written.
    """
    if file_format == "pth":
        import_torch("--format=pth")
    trained = load(workdir, iteration, seed, warn=warn)
    params, buffers, average = trained.weights
    if trained.config.prior.family != "gaussian":
        raise ConfigError(
            f"{workdir} has config.prior.family {trained.config.prior.family!r}; allowed: 'gaussian', whose means and "
            "variances the authors' Prior stores."
        )
    if trained.config.prior.weights != "uniform":
        raise ConfigError(
            f"{workdir} has config.prior.weights {trained.config.prior.weights!r}; allowed: 'uniform', as the authors' "
            "Prior has them."
        )
    unused = pathlib.Path(workdir).expanduser() / UNUSED
    tensors = to_complete_released(trained.model, params, buffers, read_tensors(unused) if unused.exists() else None)
    generator = to_released({"generator": average["params"]}, {"generator": average["buffers"]})
    tensors |= {f"G_ema.{name.removeprefix('G.')}": array for name, array in generator.items()}
    out = new_folder("--out", out)
    write_released(out, tensors, f".{file_format}")
    if trained.config.variant != "released":
        warn(
            f"the run has config.variant {trained.config.variant!r}: the authors' code upsamples and uses sigma in "
            "another way, so these weights give other images and clusters there"
        )
    return out
