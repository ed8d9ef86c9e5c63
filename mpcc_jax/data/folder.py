"""Folders of pictures: as a data set (class subfolders give labels, a flat folder has none), and as new images."""

import collections
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
SYSTEM_FOLDERS = {
    "@eaDir",
    "__MACOSX",
    "lost+found",
    "#recycle",
    "@Recycle",
    "$RECYCLE.BIN",
    "System Volume Information",
}
SPLITS = {"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"}
# What Pillow raises for damaged files, by format and by kind of damage.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclasses.dataclass
class Found:
    """Pictures in a folder, as relative paths, and what was left out: numbers by kind, folders that cannot be read."""

    paths: list[str] = dataclasses.field(default_factory=list)
    left_out: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    closed: list[OSError] = dataclasses.field(default_factory=list)


def find_pictures(folder: Path) -> Found:
    """Finds the pictures in a folder and below, in order; hidden and system folders are left out.

    Links are followed, but lead to a folder or picture of the same tree, or to a folder a second time, in vain: every
    picture is found once.
    """
    found, links, seen, known = Found(), [], {os.path.realpath(folder)}, set()
    _walk(str(folder), "", found, links, seen)
    checked = 0
    for path in links:  # which grows: links may lead to folders with links
        known.update(os.path.realpath(folder / name) for name in found.paths[checked:])
        checked, target = len(found.paths), os.path.realpath(folder / path)
        if target in seen or target in known:
            found.left_out["links to what is there already"] += 1
        elif os.path.isdir(target):
            seen.add(target)
            _walk(str(folder), path, found, links, seen)
        elif path.lower().endswith(EXTENSIONS):
            found.paths.append(path)
        else:
            found.left_out["other files"] += 1
    if not found.paths:
        kinds, others = ", ".join(EXTENSIONS), found.left_out["other files"]
        if found.closed:
            raise _unreadable_folder(found.closed[0])
        raise DataError(f"{folder} holds no pictures ({others} other files); allowed: {kinds}, here or in subfolders.")
    found.paths.sort()
    return found


def _walk(root: str, start: str, found: Found, links: list[str], seen: set[str]) -> None:
    """Adds the pictures below a folder that is not `seen`, and the links there."""
    for directory, subfolders, files in os.walk(os.path.join(root, start), onerror=found.closed.append):
        folders, subfolders[:] = sorted(subfolders), []
        for name in (*folders, *files):
            full = os.path.join(directory, name)
            path = os.path.relpath(full, root)
            if name.startswith("."):
                continue
            if name in SYSTEM_FOLDERS:
                found.left_out["system folders"] += 1
            elif os.path.islink(full):
                links.append(path)
            elif name in folders and os.path.realpath(full) in seen:
                found.left_out["links to what is there already"] += 1
            elif name in folders:
                seen.add(os.path.realpath(full))
                subfolders.append(name)
            elif name.lower().endswith(EXTENSIONS):
                found.paths.append(path)
            else:
                found.left_out["other files"] += 1


def _unreadable_folder(error: OSError) -> DataError:
    return DataError(
        f"the folder {error.filename!r} cannot be read ({error.strerror}). Allow it, or leave such folders out by "
        "--config.data.skip_bad=True."
    )


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
    if {name.lower() for name in names} <= SPLITS:
        raise DataError(
            f"{folder} has subfolders {', '.join(names)}, which are parts of a data set and no classes; name "
            f"one, as in --config.data.name=folder:{folder / names[0]}, or use all pictures without labels by "
            "--config.data.labels=False."
        )
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
    found = find_pictures(folder)
    if found.closed and not settings.skip_bad:
        raise _unreadable_folder(found.closed[0])
    digest = hashlib.sha256()
    for path in found.paths:
        try:
            stat = (folder / path).stat()
            size, changed = stat.st_size, stat.st_mtime_ns
        except OSError:  # a link that leads nowhere: reading it says so
            size, changed = -1, 0
        digest.update(os.fsencode(path) + f"\0{size}\0{changed}\n".encode())
    identity = {name: settings[name] for name in ("labels", "channels", "background", "skip_bad")}
    identity |= {"folder": str(folder), "files": digest.hexdigest()}
    open_ = functools.partial(_open, folder, found, settings)
    return Source(f"folder:{folder.name}", open_, origin=str(folder), identity=identity)


def _open(folder: Path, found: Found, settings: ConfigDict, resolution: int) -> Reader:
    paths = found.paths
    labels, class_names = label_by_folder(paths, folder) if settings.labels else (None, None)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        modes = [gray for gray in pool.map(_is_gray_file, [folder / path for path in paths]) if gray is not None]
    channels = settings.channels or (1 if all(modes) else 3)
    notes = []
    if 0 < sum(modes) < len(modes):
        kind = "gray" if channels == 1 else "RGB"
        notes.append(f"{sum(modes)} gray and {len(modes) - sum(modes)} colour pictures, made {kind}")
    notes += [f"{count} {kind} ignored" for kind, count in found.left_out.items()]
    if found.closed:
        notes.append(f"{len(found.closed)} folders that cannot be read skipped")

    def read(start: int, stop: int) -> Block:
        names = paths[start:stop]
        images, broken = _read_files(folder, names, resolution, channels, settings.background)
        if broken and not settings.skip_bad:
            raise _unreadable(folder, broken, "--config.data.skip_bad=True")
        kept = [name in images for name in names]
        array = np.asarray(list(images.values()), np.uint8).reshape(-1, resolution, resolution, channels)
        return Block(array, None if labels is None else labels[start:stop][kept], tuple(broken))

    return Reader(len(paths), channels, read, class_names, tuple(notes))


def _check_is_file(path: Path) -> None:
    if not path.is_file() and path.exists():  # reading a pipe would wait for ever
        raise OSError("it is no file")


def _is_gray_file(path: Path) -> bool | None:
    """Reads no pixels; None if the file cannot be opened."""
    try:
        _check_is_file(path)
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
            _check_is_file(folder / name)
            return read_picture(folder / name, resolution, channels, background)
        except DAMAGE as error:
            return str(error) or type(error).__name__

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
        found = find_pictures(path)
        if found.closed and not skip_bad:
            raise _unreadable_folder(found.closed[0])
        folder, paths = path, found.paths
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
