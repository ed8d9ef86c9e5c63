"""Folders of pictures: class subfolders give labels, a flat folder has none."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib

import numpy as np
from PIL import Image

from mpcc_jax.data.dataset import DataError
from mpcc_jax.data.pixels import fit_picture, is_gray
from mpcc_jax.data.source import Block, Reader, Source

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
# What Pillow raises for damaged files, by format and by kind of damage.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def find_pictures(folder):
    """All pictures below a folder, sorted by path; hidden files and folders are left out.

    Args:
      folder: `pathlib.Path`.

    Returns:
      Relative paths as strings, their `os.stat_result`s, and how many other files there are.
    """
    found, others = [], 0
    for directory, subfolders, files in os.walk(folder, followlinks=True):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            path = os.path.join(directory, name)
            if not name.lower().endswith(EXTENSIONS):
                others += 1
            else:
                found.append((os.path.relpath(path, folder), os.stat(path)))
    found.sort()
    return [path for path, _ in found], [stat for _, stat in found], others


def label_by_folder(paths, folder):
    """Labels from the first part of each path.

    Args:
      paths: relative to the folder.
      folder: for messages.

    Returns:
      Labels, int32, [N], and class names, sorted; or None and None for a flat folder.

    Raises:
      DataError: if pictures lie both beside and in subfolders.
    """
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
    names = sorted(set(tops))
    return np.asarray([names.index(top) for top in tops], np.int32), tuple(names)


def _header(path):
    """Whether a picture is gray; reads no pixels. None if it cannot be opened."""
    try:
        with Image.open(path) as image:
            return is_gray(image)
    except DAMAGE:
        return None


def _read_block(folder, paths, labels, resolution, channels, settings, start, stop):
    images, kept, skipped = [], [], []
    for index in range(start, stop):
        try:
            with Image.open(folder / paths[index]) as image:
                images.append(fit_picture(image, resolution, channels, settings.background))
            kept.append(index)
        except DAMAGE as error:
            if not settings.skip_bad:
                raise DataError(
                    f"{folder / paths[index]} cannot be read as a picture ({error}). Repair or remove it, or skip all "
                    "such files by --config.data.skip_bad=True."
                ) from error
            skipped.append(paths[index])
    shape = (0, resolution, resolution, channels)
    images = np.stack(images) if images else np.zeros(shape, np.uint8)
    return Block(images, None if labels is None else labels[kept], tuple(skipped))


def _open(folder, paths, others, settings, resolution):
    labels, names = label_by_folder(paths, folder) if settings.labels else (None, None)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        gray = [one for one in pool.map(_header, [folder / path for path in paths]) if one is not None]
    channels = settings.channels or (1 if all(gray) else 3)
    notes = []
    if 0 < sum(gray) < len(gray):
        notes.append(
            f"{sum(gray)} gray and {len(gray) - sum(gray)} colour pictures, made {'gray' if channels == 1 else 'RGB'}"
        )
    if others:
        notes.append(f"{others} other files ignored")
    read = functools.partial(_read_block, folder, paths, labels, resolution, channels, settings)
    return Reader(len(paths), channels, read, names, tuple(notes))


def folder_source(settings, location):
    """A folder of PNG, JPEG, WebP or BMP files as a source.

    Args:
      settings: `config.data`.
      location: path of the folder.

    Returns:
      A `Source`.

    Raises:
      DataError: if there is no such folder, or no picture in it.
    """
    folder = pathlib.Path(location).expanduser()
    if not location or not folder.is_dir():
        raise DataError(
            f"config.data.name is 'folder:{location}', and there is no such folder; allowed: folder:PATH, for example "
            "--config.data.name=folder:/home/me/photos."
        )
    folder = folder.resolve()
    paths, stats, others = find_pictures(folder)
    if not paths:
        raise DataError(
            f"{folder} holds no pictures ({others} other files); allowed: {', '.join(EXTENSIONS)}, in subfolders by "
            "class or all in one folder."
        )
    digest = hashlib.sha256()
    for path, stat in zip(paths, stats, strict=True):
        digest.update(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    identity = {
        "folder": str(folder),
        "files": digest.hexdigest(),
        **{name: settings[name] for name in ("labels", "channels", "background", "skip_bad")},
    }
    return Source(
        f"folder:{folder.name}",
        functools.partial(_open, folder, paths, others, settings),
        origin=str(folder),
        identity=identity,
    )
