"""Where images come from: a source says cheaply what it holds, and reads it in blocks when it is opened."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np


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
