"""Pictures on disk for a trained model: a folder, one file, or an .npz."""

import concurrent.futures
import pathlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from mpcc_jax.data.arrays import load_npz
from mpcc_jax.data.dataset import DataError
from mpcc_jax.data.image_folder import DAMAGE, EXTENSIONS, find_pictures
from mpcc_jax.data.inputs import as_images
from mpcc_jax.data.pixels import fit_picture


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
