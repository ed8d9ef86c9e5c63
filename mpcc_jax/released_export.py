"""A run of ours as the authors' state dicts."""

import pathlib

from mpcc_jax.config import ConfigError
from mpcc_jax.inference import load
from mpcc_jax.outputs import new_folder
from mpcc_jax.released import to_complete_released, to_released
from mpcc_jax.released_files import write_released
from mpcc_jax.released_import import UNUSED
from mpcc_jax.tensor_files import import_torch, read_tensors


def export_released(workdir, out, file_format="npz", report=print, **options):
    """Writes G, D, E, Prior and G_ema with every name that the authors' classes load strictly.

    Args:
      workdir: path of a run.
      out: path of a new folder.
      file_format: "npz", "safetensors", or "pth", which needs PyTorch.
      report: called with every line about what was done.
      **options: `iteration` and `seed` of `mpcc_jax.inference.load`.

    Returns:
      `pathlib.Path` of the folder.

    Raises:
      WorkdirError, CheckpointError: if there is no run, or the folder is not empty.
      ConfigError: if the run has no mixture prior, which the authors' `Prior` needs.
      TensorFileError: if PyTorch is needed and not installed, or a file cannot be written.
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
