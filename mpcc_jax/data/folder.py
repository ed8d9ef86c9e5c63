"""Folders of pictures: class subfolders give labels, a flat folder has none."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from mpcc_jax.data.arrays import load_npz
from mpcc_jax.data.dataset import Block, Reader, Source
from mpcc_jax.data.images import as_images, fit_picture, is_gray
from mpcc_jax.errors import DataError

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


class ImageFiles(NamedTuple):
    """Pictures that were read.

    Attributes:
      names: paths relative to the folder, or "FILE.npz[INDEX]", N of them.
      images: as the networks take them, [N, H, W, C].
      originals: function of an index that returns the `PIL.Image.Image` before it was resized.
      skipped: (name, reason) of files that cannot be read.
    """

    names: list[str]
    images: np.ndarray
    originals: object
    skipped: list[tuple[str, str]]


def _read(path, image_shape, background):
    try:
        with Image.open(path) as image:
            return fit_picture(image, image_shape[0], image_shape[-1], background), None
    except DAMAGE as error:
        return None, str(error)


def _original(folder, names, index):
    with Image.open(folder / names[index]) as image:
        return image.copy()


def _read_npz(path, image_shape):
    arrays = load_npz(path)["images"]
    images = as_images(arrays, image_shape)

    def original(index):
        one = arrays[index] if arrays.dtype == np.uint8 else np.round((arrays[index] + 1.0) * 127.5).astype(np.uint8)
        return Image.fromarray(one[..., 0] if one.shape[-1:] == (1,) else one)

    return ImageFiles([f"{path.name}[{index}]" for index in range(len(images))], images, original, [])


def read_images(path, image_shape, *, background=255, skip_bad=False):
    """Reads pictures and resizes them as in training.

    Args:
      path: a folder (with subfolders) of PNG, JPEG, WebP or BMP files, one such file, or an .npz with `images`.
      image_shape: (H, W, C) of the model; pictures are made gray or RGB as it says.
      background: gray level behind transparent pixels.
      skip_bad: whether to leave out files that cannot be read.

    Returns:
      `ImageFiles`.

    Raises:
      DataError: if there is no picture, or one cannot be read and is not to be skipped.
    """
    path = pathlib.Path(path).expanduser()
    if path.suffix.lower() == ".npz" and path.is_file():
        return _read_npz(path, image_shape)
    if path.is_file() and path.suffix.lower() in EXTENSIONS:
        folder, names, others = path.parent, [path.name], 0
    elif path.is_dir():
        folder, (names, _, others) = path, find_pictures(path)
    else:
        raise DataError(
            f"--images is {str(path)!r}; allowed: a folder, a picture ({', '.join(EXTENSIONS)}) or an .npz."
        )
    if not names:
        raise DataError(f"{folder} holds no pictures ({others} other files); allowed: {', '.join(EXTENSIONS)}.")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        results = list(pool.map(lambda name: _read(folder / name, image_shape, background), names))
    skipped = [(name, reason) for name, (_, reason) in zip(names, results, strict=True) if reason is not None]
    if skipped and (not skip_bad or len(skipped) == len(names)):
        name, reason = skipped[0]
        raise DataError(
            f"{folder / name} cannot be read as a picture ({reason})"
            + (f", and {len(skipped) - 1} more cannot" if len(skipped) > 1 else "")
            + ". Repair or remove, or leave such files out by --skip_bad."
        )
    good = [index for index, (image, _) in enumerate(results) if image is not None]
    names = [names[index] for index in good]
    images = np.stack([results[index][0] for index in good])
    return ImageFiles(names, images, lambda index: _original(folder, names, index), skipped)
