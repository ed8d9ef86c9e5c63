"""Arrays: from an .npz file, from Python, and the digits built into scikit-learn."""

import functools
import pathlib
import zipfile

import numpy as np

from mpcc_jax.data.dataset import Block, Dataset, Reader, Source, check_images, check_labels
from mpcc_jax.data.images import fit_array
from mpcc_jax.errors import DataError


def name_classes(labels):
    """Labels that are texts become numbers.

    Args:
      labels: [N].

    Returns:
      Labels, integers, and class names, sorted; texts only. Other labels as they are, and None.
    """
    if labels.dtype.kind not in "US":
        return labels, None
    names, labels = np.unique(labels.astype(str), return_inverse=True)
    return labels.astype(np.int32), tuple(names.tolist())


def _read_block(images, labels, resolution, start, stop):
    block = images[start:stop]
    if block.shape[1:3] != (resolution, resolution):
        block = np.stack([fit_array(image, resolution) for image in block])
    return Block(block, None if labels is None else labels[start:stop])


def read_arrays(images, labels, name, resolution, class_names=None):
    """Arrays as an opened source.

    Args:
      images: uint8, [N, H, W, C] or [N, H, W].
      labels: integers or texts, [N], or None.
      name: of the data set, for messages.
      resolution: pixels of the side.
      class_names: one per class, or None.

    Returns:
      A `Reader`.

    Raises:
      DataError: if they are not what they should be.
    """
    images = images[..., None] if images.ndim == 3 else images
    check_images(images, name)
    if labels is not None:
        labels, found = name_classes(labels)
        class_names = class_names or found
        check_labels(labels, len(images), class_names, name)
        labels = labels.astype(np.int32)
    read = functools.partial(_read_block, images, labels, resolution)
    return Reader(len(images), images.shape[-1], read, None if labels is None else class_names)


def from_arrays(images, labels=None, resolution=None, name="arrays", class_names=None):
    """A data set of your own, for `mpcc_jax.training.train.train(config, workdir, dataset=...)`.

    Args:
      images: uint8, [N, H, W, C] with C = 1 or 3, or [N, H, W].
      labels: integers or texts, [N], or None.
      resolution: pixels of the side; images of another size are cropped to the centred square and resized. None keeps
        the height.
      name: what to call it.
      class_names: one per class, or None.

    Returns:
      A `Dataset`.

    Raises:
      DataError: if the arrays are not what they should be.
    """
    images, labels = np.asarray(images), None if labels is None else np.asarray(labels)
    resolution = resolution or (images.shape[1] if images.ndim > 1 else 0)
    reader = read_arrays(images, labels, name, resolution, class_names)
    block = reader.read(0, reader.count)
    return Dataset(name, block.images, block.labels, reader.class_names)


def load_npz(path):
    """The arrays of an .npz file; object arrays are refused by NumPy itself, which would have to unpickle them.

    Args:
      path: of the file.

    Returns:
      "images", and "labels" if it has them.

    Raises:
      DataError: if it cannot be read, or has no images.
    """
    try:
        with open(path, "rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise DataError(f"{path} is one array, not an .npz file with an array 'images'.")
            if "images" not in file.files:
                raise DataError(
                    f"{path} holds {', '.join(map(repr, file.files))}; allowed: 'images' and, if you like, 'labels'."
                )
            return {name: file[name] for name in ("images", "labels") if name in file.files}
    except DataError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        reason = "it holds Python objects, which are never unpickled" if "allow_pickle" in str(error) else error
        raise DataError(
            f"{path} cannot be read: {reason}. Allowed: 'images' as uint8, [N, H, W, C] with all images of one size, "
            "and, if you like, 'labels', integers or texts, [N], saved by numpy.savez."
        ) from error


def _open_npz(path, with_labels, resolution):
    arrays = load_npz(path)
    return read_arrays(arrays["images"], arrays.get("labels") if with_labels else None, path.name, resolution)


def npz_source(settings, location):
    """An .npz file with `images` and perhaps `labels` as a source.

    Args:
      settings: `config.data`.
      location: path of the file.

    Returns:
      A `Source`.

    Raises:
      DataError: if there is no such file.
    """
    path = pathlib.Path(location).expanduser()
    if not path.is_file():
        raise DataError(f"config.data.name is 'npz:{location}', and there is no such file; allowed: npz:PATH.")
    path = path.resolve()
    stat = path.stat()
    identity = {"npz": str(path), "size": stat.st_size, "time": stat.st_mtime_ns, "labels": settings.labels}
    return Source(
        f"npz:{path.stem}", functools.partial(_open_npz, path, settings.labels), origin=str(path), identity=identity
    )


def _open_digits(with_labels, resolution):
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels count ink from 0 to 16.
    images = np.round(digits.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
    return read_arrays(images, digits.target if with_labels else None, "digits", resolution, tuple("0123456789"))


def digits_source(settings):
    """The 1797 handwritten digits of 8x8 pixels that come with scikit-learn (UCI optical recognition, test part).

    Args:
      settings: `config.data`.

    Returns:
      A `Source`; not worth a cache.
    """
    return Source("digits", functools.partial(_open_digits, settings.labels), origin="scikit-learn")
