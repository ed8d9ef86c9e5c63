"""Files that a person asks for: folders in which nothing is lost, sheets, arrays, copies by cluster."""

import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from mpcc_jax.data.cache import file_name
from mpcc_jax.data.folder import EXTENSIONS, ImageFiles
from mpcc_jax.errors import WorkdirError
from mpcc_jax.report import tile
from mpcc_jax.workdir import new_folder, replace_file

SHEET_WIDTH = 16
SHOWN_SIDE = 32  # pixels of a sheet that an image has at least
LONGEST_NAME = 200  # bytes, of the 255 that file systems allow; the names begin with a number


def check_output(path: str | Path, *, is_file: bool = False) -> Path:
    """Checks that a file (.npz, .png, any if `is_file`) or a new folder can be written, before the work for it.

    Raises:
      WorkdirError: if it cannot.
    """
    path = Path(path).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.is_file():
            path.open("ab").close()
    except OSError as error:
        raise WorkdirError(f"--out is {str(path)!r}, which cannot be written ({error.strerror}).") from error
    if not is_file and path.suffix.lower() not in (".npz", ".png"):
        return new_folder("--out", path)
    if path.is_dir():
        raise WorkdirError(f"--out is {str(path)!r}, which is a folder; allowed: a file.")
    return path


def write_images(out: Path, sheet: UInt8[np.ndarray, "N H W C"], names: Sequence[str], **arrays: np.ndarray) -> None:
    """Writes `sheet` as one picture (.png, small ones enlarged) or one file per name in a folder; `arrays` as .npz."""
    if out.suffix.lower() == ".npz":
        with replace_file(out) as file:
            np.savez_compressed(file, **arrays)
    elif out.suffix.lower() == ".png":
        width, factor = min(SHEET_WIDTH, len(sheet)), math.ceil(SHOWN_SIDE / max(sheet.shape[1:3]))
        sheet = sheet.repeat(factor, axis=1).repeat(factor, axis=2)
        blank = np.full((-len(sheet) % width, *sheet.shape[1:]), 255, np.uint8)
        grid = tile(np.concatenate([sheet, blank]) / np.float32(127.5) - 1.0, width)
        with replace_file(out) as file:
            Image.fromarray(np.round(255 * grid).astype(np.uint8)).save(file, format="png")
    else:
        for name, image in zip(names, sheet, strict=True):
            stem = file_name(name.removesuffix(Path(name).suffix) if name.lower().endswith(EXTENSIONS) else name)
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out / f"{stem[:LONGEST_NAME]}.png")


def copy_by_cluster(
    files: ImageFiles, source: Path, clusters: Int[np.ndarray, " N"], num_clusters: int, target: Path
) -> None:
    """Copies pictures into a folder per cluster, as they are; those of an .npz are written as PNG."""
    for index, (name, cluster) in enumerate(zip(files.names, clusters, strict=True)):
        folder = target / f"cluster_{cluster:0{len(str(num_clusters - 1))}}"
        path = source / name if source.is_dir() else source
        copy = folder / (f"{path.stem}_{index:06}.png" if path.suffix.lower() == ".npz" else name)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix.lower() == ".npz":
                files.originals(index).save(copy)
            else:
                shutil.copy2(path, copy)
        except OSError as error:
            reason = error.strerror or error
            raise WorkdirError(f"{str(copy)!r} cannot be written ({reason}); the copies are not complete.") from error
