"""What a data set is once it is loaded: arrays that fit the networks, and the facts that a reader wants to know."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from mpcc_jax.errors import DataError

BLOCK = 4096


class PixelRange(NamedTuple):
    """Extent of the pixel values.

    Attributes:
      minimum, maximum: from 0 to 255.
      mean: from 0 to 255.
    """

    minimum: int
    maximum: int
    mean: float


def measure_pixels(images):
    """The extent of the pixels, block by block, so that a memory-mapped array never has to fit in memory.

    Args:
      images: uint8, [N, H, W, C].

    Returns:
      A `PixelRange`.
    """
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    total = sum(int(block.sum(dtype=np.int64)) for block in blocks)
    return PixelRange(
        min(int(block.min()) for block in blocks), max(int(block.max()) for block in blocks), total / images.size
    )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Square images of one size, and their labels if there are any.

    Attributes:
      name: what it is called.
      images: uint8, [N, H, H, C] with C = 1 or 3; may be memory-mapped.
      labels: integers from 0, [N], or None. Used for scores alone, unless training is conditional.
      class_names: one per class, or None.
      version: of the stored data, or "".
      split: which part of it, or "".
      origin: where it was read from, or "".
      notes: what else happened while it was loaded, one sentence each.
      pixels: extent of the values; measured if it is not given.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    version: str = ""
    split: str = ""
    origin: str = ""
    notes: tuple[str, ...] = ()
    pixels: PixelRange | None = None

    def __post_init__(self):
        """Raises DataError if the arrays are not what they should be."""
        check_images(self.images, self.name)
        height, width = self.images.shape[1:3]
        if height != width:
            raise DataError(
                f"images of {self.name!r} have shape {self.images.shape}; allowed: [N, H, H, C], square. "
                "mpcc_jax.data.from_arrays crops and resizes."
            )
        if self.pixels is None:
            object.__setattr__(self, "pixels", measure_pixels(self.images))
        if self.pixels.maximum - self.pixels.minimum < 2:
            raise DataError(
                f"images of {self.name!r} only take values from {self.pixels.minimum} to {self.pixels.maximum}; "
                "allowed: uint8 spread over 0 to 255. Were they scaled to [0, 1] before the conversion?"
            )
        if self.labels is not None:
            check_labels(self.labels, len(self.images), self.class_names, self.name)

    @property
    def class_sizes(self):
        """How many images every class has, [classes], or None without labels."""
        if self.labels is None:
            return None
        return np.bincount(self.labels, minlength=len(self.class_names or ()))

    def facts(self):
        """The data card, for machines.

        Returns:
          A dictionary that JSON can hold.
        """
        count, height, width, channels = self.images.shape
        facts = {
            "name": self.name,
            "version": self.version,
            "split": self.split,
            "origin": self.origin,
            "count": count,
            "shape": [height, width, channels],
            "range": self.pixels._asdict(),
            "notes": list(self.notes),
            "labels": None,
        }
        if self.labels is not None:
            names = self.class_names or map(str, range(len(self.class_sizes)))
            facts["labels"] = dict(zip(names, self.class_sizes.tolist(), strict=True))
        return facts

    def card(self):
        """The data card, for people: what they want to know before training starts.

        Returns:
          Texts by heading.
        """
        count, height, width, channels = self.images.shape
        version = f" {self.version}" if self.version else ""
        card = {"name": self.name + version}
        if self.split:
            card["split"] = self.split
        card["images"] = f"{count} of {height}x{width}x{channels} uint8"
        card["range"] = f"{self.pixels.minimum} to {self.pixels.maximum}, mean {self.pixels.mean:.1f}"
        card["classes"] = self._describe_classes()
        if self.origin:
            card["from"] = self.origin
        if self.notes:
            card["notes"] = "; ".join(self.notes)
        return card

    def _describe_classes(self):
        if self.labels is None:
            return "no labels"
        sizes = self.class_sizes
        text = f"{len(sizes)} of {sizes.min()} to {sizes.max()} images (labels only for scores)"
        if self.class_names and len(sizes) <= 20:
            text += ": " + ", ".join(f"{name} {size}" for name, size in zip(self.class_names, sizes, strict=True))
        return text


def check_images(images, name):
    """Checks what can be made into images of a data set.

    Args:
      images: the array.
      name: of the data set, for messages.

    Raises:
      DataError: unless they are uint8, [N, H, W, C], with N > 0 and C = 1 or 3.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        hint = ""
        if images.ndim == 4 and images.shape[1] in (1, 3):
            hint = " Channels come last: images.transpose(0, 2, 3, 1)."
        raise DataError(f"images of {name!r} have shape {images.shape}; allowed: [N, H, W, C] with C = 1 or 3.{hint}")
    if 0 in images.shape:
        raise DataError(f"{name!r} holds no images (shape {images.shape}).")
    if images.dtype != np.uint8:
        extent = ""
        if np.issubdtype(images.dtype, np.number):
            broken = int(np.isnan(images).sum()) if np.issubdtype(images.dtype, np.floating) else 0
            extent = f", {broken} of them NaN" if broken else f" from {images.min():g} to {images.max():g}"
        raise DataError(
            f"images of {name!r} are {images.dtype}{extent}; allowed: uint8 from 0 to 255. Scale them and convert "
            "with numpy.round(...).astype('uint8')."
        )


def check_labels(labels, count, class_names, name):
    """Checks labels against the images and class names that they belong to.

    Args:
      labels: the array.
      count: of images.
      class_names: one per class, or None.
      name: of the data set, for messages.

    Raises:
      DataError: if they do not fit, or all are the same.
    """
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels of {name!r} are {labels.dtype} of shape {labels.shape}; allowed: integers of shape ({count},), "
            "one per image. Or ignore them by --config.data.labels=False."
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (class_names is not None and highest >= len(class_names)):
        allowed = "0 and more" if class_names is None else f"0 to {len(class_names) - 1}, the classes named"
        raise DataError(
            f"labels of {name!r} go from {lowest} to {highest}; allowed: {allowed}. Or ignore them by "
            "--config.data.labels=False."
        )
    if lowest == highest and count > 1:
        text = lowest if class_names is None else repr(class_names[lowest])
        raise DataError(
            f"all images of {name!r} have the label {text}, so there is nothing to compare clusters with; allowed: "
            "at least two classes, or none. Train without labels by --config.data.labels=False."
        )


@dataclasses.dataclass(frozen=True)
class Block:
    """Some images in order.

    Attributes:
      images: uint8, [n, resolution, resolution, C].
      labels: integers, [n], or None.
      skipped: names of images that could not be read and are missing from `images`.
    """

    images: np.ndarray
    labels: np.ndarray | None = None
    skipped: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reader:
    """An opened source.

    Attributes:
      count: images, unless some are skipped.
      channels: 1 or 3.
      read: function of (start, stop) that returns the `Block` of images start .. stop - 1; several threads call it.
      class_names: one per class, or None.
      notes: what happened on opening, one sentence each.
    """

    count: int
    channels: int
    read: Callable[[int, int], Block]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """What is known before anything is read.

    Attributes:
      name: what it is called.
      open: function of the resolution that returns a `Reader`.
      version: of the stored data, or "".
      split: which part of it, or "".
      origin: where it is read from, or "" if the data is missing and only a cached copy can stand for it.
      identity: everything else that the pixels depend on, for the cache; None if caching would not pay.
      looked: what to tell the user if the data is missing: where it was looked for.
      fetch: gets missing data, once; None if only the user can.
    """

    name: str
    open: Callable[[int], Reader]
    version: str = ""
    split: str = ""
    origin: str = ""
    identity: Mapping[str, Any] | None = None
    looked: str = ""
    fetch: Callable[[], None] | None = None

    @property
    def is_missing(self):
        """Whether the data could be fetched, but is not there."""
        return self.fetch is not None and not self.origin
