"""Folders of pictures: as a data set (class subfolders give labels, a flat folder has none), and as new images."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from ml_collections import ConfigDict
from PIL import Image

from mpcc_jax.data.arrays import load_npz
from mpcc_jax.data.dataset import Block, Reader, Source
from mpcc_jax.data.images import as_images, is_gray, read_picture
from mpcc_jax.errors import DataError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# What Pillow raises for damaged files, by format and by kind of damage.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def find_pictures(folder: Path) -> tuple[list[str], int]:
    """Returns the sorted relative paths of all pictures in a folder and its subfolders, and the number of other files.

    Hidden files and folders are left out. Raises DataError if there is no picture.
    """
    paths, others = [], 0
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                paths.append(os.path.relpath(os.path.join(directory, name), folder))
            elif not name.startswith("."):
                others += 1
    if not paths:
        raise DataError(
            f"{folder} holds no pictures ({others} other files); allowed: {', '.join(EXTENSIONS)}, in subfolders or "
            "all in one folder."
        )
    return sorted(paths), others


def label_by_folder(paths: list[str], folder: Path) -> tuple[Integer[np.ndarray, " N"] | None, tuple[str, ...] | None]:
    """Returns labels from the first part of each path, and class names; None and None for a flat folder."""
    tops = [path.split(os.sep)[0] if os.sep in path else None for path in paths]
    flat = tops.count(None)
    if flat == len(tops):
        return None, None
    if flat:
        raise DataError(
            f"{folder} has {flat} pictures beside its subfolders (such as {paths[tops.index(None)]!r}) and "
            f"{len(tops) - flat} in them; allowed: all in subfolders, one per class, or none. Or ignore the "
            "subfolders by --config.data.labels=False."
        )
    names, labels = np.unique(tops, return_inverse=True)
    return labels.astype(np.int32), tuple(names.tolist())


def folder_source(settings: ConfigDict, location: str) -> Source:
    """Returns the source folder:PATH: a folder of PNG, JPEG, WebP or BMP files."""
    folder = Path(location).expanduser()
    if not location or not folder.is_dir():
        raise DataError(
            f"config.data.name is 'folder:{location}', and there is no such folder; allowed: folder:PATH, for example "
            "--config.data.name=folder:/home/me/photos."
        )
    folder = folder.resolve()
    paths, others = find_pictures(folder)
    digest = hashlib.sha256()
    for path in paths:
        stat = (folder / path).stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    identity = {
        "folder": str(folder),
        "files": digest.hexdigest(),
        **{name: settings[name] for name in ("labels", "channels", "background", "skip_bad")},
    }
    open_ = functools.partial(_open, folder, paths, others, settings)
    return Source(f"folder:{folder.name}", open_, origin=str(folder), identity=identity)


def _open(folder: Path, paths: list[str], others: int, settings: ConfigDict, resolution: int) -> Reader:
    labels, class_names = label_by_folder(paths, folder) if settings.labels else (None, None)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        modes = [gray for gray in pool.map(_is_gray_file, [folder / path for path in paths]) if gray is not None]
    channels = settings.channels or (1 if all(modes) else 3)
    notes = []
    if 0 < sum(modes) < len(modes):
        kind = "gray" if channels == 1 else "RGB"
        notes.append(f"{sum(modes)} gray and {len(modes) - sum(modes)} colour pictures, made {kind}")
    if others:
        notes.append(f"{others} other files ignored")

    def read(start: int, stop: int) -> Block:
        images, indices, skipped = [], [], []
        for index in range(start, stop):
            path = folder / paths[index]
            try:
                images.append(read_picture(path, resolution, channels, settings.background))
                indices.append(index)
            except DAMAGE as error:
                if not settings.skip_bad:
                    raise DataError(
                        f"{path} cannot be read as a picture ({error}). Repair or remove it, or skip all such files by "
                        "--config.data.skip_bad=True."
                    ) from error
                skipped.append(paths[index])
        images = np.stack(images) if images else np.zeros((0, resolution, resolution, channels), np.uint8)
        return Block(images, None if labels is None else labels[indices], tuple(skipped))

    return Reader(len(paths), channels, read, class_names, tuple(notes))


def _is_gray_file(path: Path) -> bool | None:
    """Reads no pixels; None if the file cannot be opened."""
    try:
        with Image.open(path) as image:
            return is_gray(image)
    except DAMAGE:
        return None


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
    """Pictures as a trained model takes them.

    Attributes:
      names: paths relative to the folder, or "FILE.npz[INDEX]".
      images: [N, H, W, C], uint8, or float32 from an .npz of floats.
      originals: returns the picture of an index as it was before it was resized.
      skipped: (name, reason) of files that cannot be read.
    """

    names: list[str]
    images: np.ndarray
    originals: Callable[[int], Image.Image]
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def read_images(
    path: str | os.PathLike, image_shape: tuple[int, int, int], *, background: int = 255, skip_bad: bool = False
) -> ImageFiles:
    """Reads pictures and resizes them as in training.

    Args:
      path: a folder (with subfolders) of PNG, JPEG, WebP or BMP files, one such file, or an .npz with `images`.
      image_shape: (H, W, C) of the model; pictures are made gray or RGB as it says.
      background: gray level behind transparent pixels.
      skip_bad: whether to leave out files that cannot be read.

    Raises:
      DataError: if there is no picture, or one cannot be read and is not to be skipped.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() == ".npz" and path.is_file():
        return _read_npz(path, image_shape)
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        folder, paths = path.parent, [path.name]
    elif path.is_dir():
        folder, (paths, _) = path, find_pictures(path)
    else:
        raise DataError(
            f"--images is {str(path)!r}; allowed: a folder, a picture ({', '.join(EXTENSIONS)}) or an .npz."
        )

    def read(name: str) -> np.ndarray | str:
        try:
            return read_picture(folder / name, image_shape[0], image_shape[-1], background)
        except DAMAGE as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = dict(zip(paths, pool.map(read, paths), strict=True))
    skipped = [(name, result) for name, result in results.items() if isinstance(result, str)]
    if skipped and (not skip_bad or len(skipped) == len(paths)):
        name, reason = skipped[0]
        raise DataError(
            f"{folder / name} cannot be read as a picture ({reason})"
            + (f", and {len(skipped) - 1} more cannot" if len(skipped) > 1 else "")
            + ". Repair or remove, or leave such files out by --skip_bad."
        )
    names = [name for name, result in results.items() if not isinstance(result, str)]

    def original(index: int) -> Image.Image:
        with Image.open(folder / names[index]) as image:
            return image.copy()

    return ImageFiles(names, np.stack([results[name] for name in names]), original, skipped)


def _read_npz(path: Path, image_shape: tuple[int, int, int]) -> ImageFiles:
    arrays = load_npz(path)["images"]
    images = as_images(arrays, image_shape)

    def original(index: int) -> Image.Image:
        array = arrays[index]
        if array.dtype != np.uint8:
            array = np.round((array + 1.0) * 127.5).astype(np.uint8)
        return Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) else array)

    return ImageFiles([f"{path.name}[{index}]" for index in range(len(images))], images, original)
