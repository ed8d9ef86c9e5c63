"""Files that a person asks for: folders in which nothing is lost, sheets, arrays, copies by cluster."""

import pathlib
import shutil
import tempfile

import numpy as np
from PIL import Image

from mpcc_jax.data.cache import file_name
from mpcc_jax.errors import WorkdirError
from mpcc_jax.report import tile
from mpcc_jax.workdir import new_folder

SHEET_WIDTH = 16
FILES = (".npz", ".png")


def check_output(path, *, is_file=False):
    """Whether something can be written, before the work that makes it.

    Args:
      path: text or `pathlib.Path` of a file (.npz, .png) or of a new folder (any other ending).
      is_file: whether it is a file with any ending.

    Returns:
      `pathlib.Path`.

    Raises:
      WorkdirError: if it cannot be written, or is a folder that is not empty.
    """
    path = pathlib.Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise WorkdirError(f"--out is {str(path)!r}, which cannot be written ({error.strerror}).") from error
    if not is_file and path.suffix not in FILES:
        return new_folder("--out", path)
    if path.is_dir():
        raise WorkdirError(f"--out is {str(path)!r}, which is a folder; allowed: a file.")
    return path


def open_output(path, mode="w", **options):
    """Opens a file for writing, and makes its folder.

    Args:
      path: `pathlib.Path`.
      mode, **options: of `open`.

    Returns:
      The file.

    Raises:
      WorkdirError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return open(path, mode, **options)
    except OSError as error:
        raise WorkdirError(f"--out is {str(path)!r}, which cannot be written ({error.strerror}).") from error


def write_images(out, sheet, names, **arrays):
    """Writes images as one sheet (.png), as arrays (.npz), or each as a file of a new folder.

    Args:
      out: path; its ending says which.
      sheet: uint8, [N, H, W, C].
      names: of the files in a folder, N.
      **arrays: for the .npz.

    Raises:
      WorkdirError: if it cannot be written.
    """
    if out.suffix == ".npz":
        with open_output(out, "wb") as stream:
            np.savez_compressed(stream, **arrays)
    elif out.suffix == ".png":
        missing = -len(sheet) % min(SHEET_WIDTH, len(sheet))
        blank = np.full((missing, *sheet.shape[1:]), 255, np.uint8)
        grid = tile(np.concatenate([sheet, blank]) / np.float32(127.5) - 1.0, min(SHEET_WIDTH, len(sheet)))
        with open_output(out, "wb") as stream:
            Image.fromarray(np.round(255 * grid).astype(np.uint8)).save(stream, "PNG")
    else:
        folder = new_folder("--out", out)
        for name, image in zip(names, sheet, strict=True):
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{file_name(name)}.png")


def copy_by_cluster(given, source, clusters, num_clusters, target):
    """Copies pictures into one folder per cluster, as they are; those of an .npz are written as PNG.

    Args:
      given: `ImageFiles`.
      source: `pathlib.Path` that they were read from.
      clusters: integers, [N].
      num_clusters: K.
      target: `pathlib.Path` of the folder.
    """
    for index, (name, cluster) in enumerate(zip(given.names, clusters, strict=True)):
        folder = target / f"cluster_{cluster:0{len(str(num_clusters - 1))}}"
        folder.mkdir(parents=True, exist_ok=True)
        path = source / name if source.is_dir() else source
        if path.suffix.lower() == ".npz":
            given.originals(index).save(folder / f"{path.stem}_{index:06}.png")
        else:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, folder / name)
