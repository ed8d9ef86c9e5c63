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
    """Returns sorted relative paths of pictures in a folder, hidden ones left out, and the number of other files."""
    paths, others = [], 0
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        visible = [name for name in files if not name.startswith(".")]
        names = [name for name in visible if name.lower().endswith(EXTENSIONS)]
        paths += [os.path.relpath(os.path.join(directory, name), folder) for name in names]
        others += len(visible) - len(names)
    if not paths:
        kinds = ", ".join(EXTENSIONS)
        raise DataError(f"{folder} holds no pictures ({others} other files); allowed: {kinds}, here or in subfolders.")
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
            f"config.data.name is 'folder:{location}', and there is no such folder; allowed: folder:PATH, such as "
            "--config.data.name=folder:/home/me/photos."
        )
    folder = folder.resolve()
    paths, others = find_pictures(folder)
    digest = hashlib.sha256()
    for path in paths:
        stat = (folder / path).stat()
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    identity = {name: settings[name] for name in ("labels", "channels", "background", "skip_bad")}
    identity |= {"folder": str(folder), "files": digest.hexdigest()}
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
        names = paths[start:stop]
        images, broken = _read_files(folder, names, resolution, channels, settings.background)
        if broken and not settings.skip_bad:
            raise _unreadable(folder, broken, "--config.data.skip_bad=True")
        kept = [name in images for name in names]
        array = np.asarray(list(images.values()), np.uint8).reshape(-1, resolution, resolution, channels)
        return Block(array, None if labels is None else labels[start:stop][kept], tuple(broken))

    return Reader(len(paths), channels, read, class_names, tuple(notes))


def _is_gray_file(path: Path) -> bool | None:
    """Reads no pixels; None if the file cannot be opened."""
    try:
        with Image.open(path) as image:
            return is_gray(image)
    except DAMAGE:
        return None


def _read_files(
    folder: Path, names: list[str], resolution: int, channels: int, background: int, apply: Callable = map
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Returns the fitted pictures by name, and for the other files the reasons why they cannot be read."""

    def read(name: str) -> np.ndarray | str:
        try:
            return read_picture(folder / name, resolution, channels, background)
        except DAMAGE as error:
            return str(error)

    results = dict(zip(names, apply(read, names), strict=True))
    broken = {name: result for name, result in results.items() if isinstance(result, str)}
    return {name: result for name, result in results.items() if name not in broken}, broken


def _unreadable(folder: Path, broken: dict[str, str], flag: str) -> DataError:
    name, reason = next(iter(broken.items()))
    more = f", and {len(broken) - 1} more cannot" if len(broken) > 1 else ""
    return DataError(
        f"{folder / name} cannot be read as a picture ({reason}){more}. Repair or remove, or leave such files out by "
        f"{flag}."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ImageFiles:
    """Pictures as a trained model takes them, [N, H, W, C], uint8 or float32, and what they were made of.

    `names` are paths relative to the folder, or "FILE.npz[INDEX]"; `originals(index)` is the picture before it was
    resized; `skipped` are (name, reason) of files that cannot be read.
    """

    names: list[str]
    images: np.ndarray
    originals: Callable[[int], Image.Image]
    skipped: list[tuple[str, str]] = dataclasses.field(default_factory=list)


def read_images(
    path: str | os.PathLike, image_shape: tuple[int, int, int], *, background: int = 255, skip_bad: bool = False
) -> ImageFiles:
    """Reads pictures and resizes them as in training; gray or RGB as the model's (H, W, C) says.

    Args:
      path: a folder (with subfolders) of PNG, JPEG, WebP or BMP files, one such file, or an .npz with `images`.
      image_shape: of the model.
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
        kinds = ", ".join(EXTENSIONS)
        raise DataError(f"--images is {str(path)!r}; allowed: a folder, a picture ({kinds}) or an .npz.")
    resolution, _, channels = image_shape
    with concurrent.futures.ThreadPoolExecutor() as pool:
        images, broken = _read_files(folder, paths, resolution, channels, background, pool.map)
    if broken and not (skip_bad and images):
        raise _unreadable(folder, broken, "--skip_bad")
    names = list(images)

    def original(index: int) -> Image.Image:
        with Image.open(folder / names[index]) as image:
            return image.copy()

    return ImageFiles(names, np.stack(list(images.values())), original, list(broken.items()))


def _read_npz(path: Path, image_shape: tuple[int, int, int]) -> ImageFiles:
    arrays = load_npz(path)["images"]
    images = as_images(arrays, image_shape)

    def original(index: int) -> Image.Image:
        array = arrays[index]
        if array.dtype != np.uint8:
            array = np.round((array + 1.0) * 127.5).astype(np.uint8)
        return Image.fromarray(array[..., 0] if array.shape[-1:] == (1,) else array)

    return ImageFiles([f"{path.name}[{index}]" for index in range(len(images))], images, original)
