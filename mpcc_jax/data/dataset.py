"""A loaded data set with its checks and its data card, and the sources that data sets are read from."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Integer, UInt8

from mpcc_jax.errors import DataError

BLOCK = 4096
CHANNELS_LAST = " Channels come last: images.transpose(0, 2, 3, 1)."
ONE_IMAGE = " One image [H, W, C] is images[None]; gray images [N, H, W] are images[..., None]."


class PixelRange(NamedTuple):
    """Extent and mean of the pixel values, from 0 to 255."""

    minimum: int
    maximum: int
    mean: float


def measure_pixels(images: UInt8[np.ndarray, "N H W C"]) -> PixelRange:
    """Measures the pixels block by block, since a memory-mapped array may not fit in memory."""
    blocks = [images[start : start + BLOCK] for start in range(0, len(images), BLOCK)]
    lowest, highest = min(int(block.min()) for block in blocks), max(int(block.max()) for block in blocks)
    return PixelRange(lowest, highest, sum(int(block.sum(dtype=np.int64)) for block in blocks) / images.size)


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Square images, uint8 [N, H, H, C] with C = 1 or 3, perhaps memory-mapped, and labels, integers from 0, [N].

    `origin` is the path or package that they were read from; `notes` are sentences on what happened then; `pixels` are
    measured if they are not given. Raises DataError if the arrays cannot be used.
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

    def __post_init__(self) -> None:
        check_images(self.images, self.name)
        height, width = self.images.shape[1:3]
        if height != width:
            text = f"images of {self.name!r} have shape {self.images.shape}; allowed: [N, H, H, C], square."
            raise DataError(f"{text} mpcc_jax.data.from_arrays crops and resizes.")
        if self.pixels is None:
            object.__setattr__(self, "pixels", measure_pixels(self.images))
        if self.pixels.maximum - self.pixels.minimum < 2:
            raise DataError(
                f"images of {self.name!r} only take values from {self.pixels.minimum} to {self.pixels.maximum}; "
                "allowed: uint8 spread over 0 to 255. Were they scaled to [0, 1] before the conversion?"
            )
        if self.labels is not None:
            check_labels(self.labels, len(self.images), self.class_names, self.name)
            labels, class_names = number_classes(self.labels, self.class_names)
            object.__setattr__(self, "labels", labels)
            object.__setattr__(self, "class_names", class_names)

    @property
    def class_sizes(self) -> Integer[np.ndarray, " K"] | None:
        """Number of images of every class, or None without labels."""
        if self.labels is None:
            return None
        return np.bincount(self.labels, minlength=len(self.class_names or ()))

    def facts(self) -> dict[str, Any]:
        """Returns the data card as JSON can hold it."""
        labels = None
        if self.labels is not None:
            names = self.class_names or map(str, range(len(self.class_sizes)))
            labels = dict(zip(names, self.class_sizes.tolist(), strict=True))
        return {
            "name": self.name,
            "version": self.version,
            "split": self.split,
            "origin": self.origin,
            "count": len(self.images),
            "shape": list(self.images.shape[1:]),
            "range": self.pixels._asdict(),
            "notes": list(self.notes),
            "labels": labels,
        }

    def card(self) -> dict[str, str]:
        """Returns the data card as it is shown before training: texts by heading."""
        shape = "x".join(map(str, self.images.shape[1:]))
        card = {
            "name": f"{self.name} {self.version}".rstrip(),
            "split": self.split,
            "images": f"{len(self.images)} of {shape} uint8",
            "range": f"{self.pixels.minimum} to {self.pixels.maximum}, mean {self.pixels.mean:.1f}",
            "classes": "no labels",
            "from": self.origin,
            "notes": "; ".join(self.notes),
        }
        sizes = self.class_sizes
        if sizes is not None:
            card["classes"] = f"{len(sizes)} of {sizes.min()} to {sizes.max()} images (labels only for scores)"
            if self.class_names and len(sizes) <= 20:
                members = [f"{name} {size}" for name, size in zip(self.class_names, sizes, strict=True)]
                card["classes"] += f": {', '.join(members)}"
        return {heading: text for heading, text in card.items() if text}


def add_channels(images: np.ndarray) -> np.ndarray:
    """Makes gray images [N, H, W] [N, H, W, 1]; DataError if they may be one image, [H, W, C]."""
    if images.ndim == 3 and images.shape[-1] in (1, 3, 4):
        raise DataError(f"images have shape {images.shape}, which may be one image or many.{ONE_IMAGE}")
    return images[..., None] if images.ndim == 3 else images


def describe_extent(images: np.ndarray) -> str:
    """Returns the extent of numbers in words; "" of what has none."""
    if images.dtype.kind not in "iuf" or not images.size:
        return ""
    broken = int(np.isnan(images).sum())
    return f", {broken} of them NaN" if broken else f" from {images.min():g} to {images.max():g}"


def how_to_convert(images: np.ndarray) -> str:
    """Returns a sentence on how numbers that are not uint8 become uint8, where that is plain."""
    if images.dtype == bool:
        return " Masks are 255 * images.astype('uint8')."
    if images.dtype.kind in "iu" and images.min() >= 0 and 1 < images.max() <= 255:
        return " Convert by images.astype('uint8')."
    return " Scale them to 0 to 255, and convert by numpy.round(images).astype('uint8')."


def check_images(images: np.ndarray, name: str) -> None:
    """Raises DataError unless images are uint8, [N, H, W, C], with N > 0 and C = 1 or 3."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        hint = CHANNELS_LAST if images.ndim == 4 and images.shape[1] in (1, 3) else ""
        raise DataError(f"images of {name!r} have shape {images.shape}; allowed: [N, H, W, C] with C = 1 or 3.{hint}")
    if 0 in images.shape:
        raise DataError(f"{name!r} holds no images (shape {images.shape}).")
    if images.dtype != np.uint8:
        raise DataError(
            f"images of {name!r} are {images.dtype}{describe_extent(images)}; allowed: uint8 from 0 to 255."
            f"{how_to_convert(images)}"
        )


def check_labels(labels: np.ndarray, count: int, class_names: tuple[str, ...] | None, name: str) -> None:
    """Raises DataError unless labels are `count` integers of at least two classes, those of `class_names` if given."""
    ignore = "ignore them by --config.data.labels=False."
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"labels of {name!r} are {labels.dtype} of shape {labels.shape}; allowed: integers of shape ({count},), "
            f"one per image. Or {ignore}"
        )
    lowest, highest = int(labels.min()), int(labels.max())
    if lowest < 0 or (class_names is not None and highest >= len(class_names)):
        allowed = "0 and more" if class_names is None else f"0 to {len(class_names) - 1}, the classes named"
        raise DataError(f"labels of {name!r} go from {lowest} to {highest}; allowed: {allowed}. Or {ignore}")
    if lowest == highest and count > 1:
        text = lowest if class_names is None else repr(class_names[lowest])
        raise DataError(
            f"all images of {name!r} have the label {text}, so there is nothing to compare clusters with; allowed: "
            f"at least two classes. Or {ignore}"
        )


def number_classes(
    labels: Integer[np.ndarray, " N"], class_names: tuple[str, ...] | None
) -> tuple[Integer[np.ndarray, " N"], tuple[str, ...] | None]:
    """Returns labels as int32; those that are ids become the names of classes, which are numbered from 0."""
    if class_names is None:
        found, numbers = np.unique(labels, return_inverse=True)
        if int(found[-1]) >= 2 * len(found):
            return numbers.astype(np.int32), tuple(map(str, found.tolist()))
    return labels.astype(np.int32, copy=False), class_names


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """Successive images of a source, uint8 [n, H, H, C], their labels, and names of those that could not be read."""

    images: np.ndarray
    labels: np.ndarray | None = None
    skipped: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Reader:
    """An opened source of `count` images; `read(start, stop)` is called by several threads, `notes` are sentences."""

    count: int
    channels: int
    read: Callable[[int, int], Block]
    class_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Source:
    """A data set before anything is read; `open` returns a `Reader` for a resolution.

    `origin` is "" if the data is missing: then `searched` says where it was looked for, and `fetch` downloads it.
    `identity` is everything else that the pixels depend on, for the cache; None if caching would not pay.
    """

    name: str
    open: Callable[[int], Reader]
    version: str = ""
    split: str = ""
    origin: str = ""
    identity: Mapping[str, Any] | None = None
    searched: str = ""
    fetch: Callable[[], None] | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the data could be fetched, but is not on this machine."""
        return self.fetch is not None and not self.origin
