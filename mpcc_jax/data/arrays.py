"""Data sets from arrays: given in Python, read from an .npz file, and the digits that come with scikit-learn."""

import zipfile
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict
from numpy.typing import ArrayLike
from sklearn import datasets

from mpcc_jax.data.dataset import (
    Block,
    Dataset,
    Reader,
    Source,
    add_channels,
    check_images,
    check_labels,
    number_classes,
)
from mpcc_jax.data.images import fit_array
from mpcc_jax.errors import DataError


def from_arrays(
    images: ArrayLike,
    labels: ArrayLike | None = None,
    resolution: int | None = None,
    name: str = "arrays",
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Makes a data set of arrays, for `mpcc_jax.training.train.train(config, workdir, dataset=...)`.

    Args:
      images: uint8, [N, H, W, C] with C = 1 or 3, or [N, H, W].
      labels: integers or texts, [N], or None.
      resolution: pixels of the side; images of another size are cropped to the centred square and resized. None keeps
        the height.
      name: shown on the data card and in messages.
      class_names: one per class.

    Raises:
      DataError: if the arrays cannot be used.
    """
    images, labels = np.asarray(images), None if labels is None else np.asarray(labels)
    resolution = resolution or (images.shape[1] if images.ndim > 1 else 0)
    reader = open_arrays(images, labels, name, resolution, class_names)
    block = reader.read(0, reader.count)
    return Dataset(name, block.images, block.labels, reader.class_names)


def open_arrays(
    images: np.ndarray, labels: np.ndarray | None, name: str, resolution: int, class_names: tuple | None = None
) -> Reader:
    """Checks arrays (those of `from_arrays`) and makes them a `Reader`."""
    images = add_channels(images)
    check_images(images, name)
    if labels is not None:
        if labels.dtype.kind in "US":
            text = np.char.decode(labels, "utf-8", "surrogateescape") if labels.dtype.kind == "S" else labels
            names, labels = np.unique(text, return_inverse=True)
            class_names = class_names or tuple(names.tolist())
        check_labels(labels, len(images), class_names, name)
        labels, class_names = number_classes(labels, class_names)

    def read(start: int, stop: int) -> Block:
        block = images[start:stop]
        if block.shape[1:3] != (resolution, resolution):
            block = np.stack([fit_array(image, resolution) for image in block])
        return Block(block, None if labels is None else labels[start:stop])

    return Reader(len(images), images.shape[-1], read, None if labels is None else class_names)


def load_npz(path: Path) -> dict[str, np.ndarray]:
    """Reads "images", and "labels" if it has them, of an .npz file; Python objects are not unpickled."""
    try:
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{path} is one array, not an .npz file with an array 'images'.")
            if "images" not in file.files:
                names = ", ".join(map(repr, file.files))
                raise DataError(f"{path} holds {names}; allowed: 'images' and, if you like, 'labels'.")
            return {name: file[name] for name in ("images", "labels") if name in file.files}
    except DataError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        reason = "it holds Python objects, which are never unpickled" if "allow_pickle" in str(error) else error
        raise DataError(
            f"{path} cannot be read: {reason}. Allowed: 'images' as uint8, [N, H, W, C] with all images of one size, "
            "and, if you like, 'labels', integers or texts, [N], saved by numpy.savez."
        ) from error


def npz_source(settings: ConfigDict, location: str) -> Source:
    """Returns the source npz:PATH: an .npz file with `images` and perhaps `labels`."""
    path = Path(location).expanduser()
    if not path.is_file():
        raise DataError(f"config.data.name is 'npz:{location}', and there is no such file; allowed: npz:PATH.")
    path = path.resolve()

    def open_npz(resolution: int) -> Reader:
        arrays = load_npz(path)
        return open_arrays(arrays["images"], arrays.get("labels") if settings.labels else None, path.name, resolution)

    stat = path.stat()
    identity = {"npz": str(path), "size": stat.st_size, "time": stat.st_mtime_ns, "labels": settings.labels}
    return Source(f"npz:{path.stem}", open_npz, origin=str(path), identity=identity)


def digits_source(settings: ConfigDict) -> Source:
    """Returns the 1797 handwritten digits of 8x8 pixels that come with scikit-learn; not worth a cache."""

    def open_digits(resolution: int) -> Reader:
        digits = datasets.load_digits()
        images = np.round(digits.images * (255.0 / 16.0)).astype(np.uint8)  # pixels count ink from 0 to 16
        labels = digits.target if settings.labels else None
        return open_arrays(images, labels, "digits", resolution, tuple("0123456789"))

    return Source("digits", open_digits, origin="scikit-learn")
