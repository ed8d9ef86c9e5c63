"""What a dataset is, and the registry of those known by name."""

import dataclasses

import numpy as np


class DataError(ValueError):
    """Data that cannot be trained on; the message says what was given and what is allowed."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images in memory, and their labels if there are any.

    Attributes:
      name: what it is called.
      images: uint8, [N, H, W, C] with C = 1 or 3.
      labels: integers, [N], or None.
      class_names: one per class, or None.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None

    def __post_init__(self):
        """Raises DataError if the arrays are not what they should be."""
        images, labels = self.images, self.labels
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.shape[1] != images.shape[2]:
            raise DataError(
                f"images of {self.name!r} have shape {images.shape}; allowed: [N, H, H, C], square, with C = 1 or 3."
            )
        if images.dtype != np.uint8:
            raise DataError(
                f"images of {self.name!r} are {images.dtype} from {images.min():g} to {images.max():g}; allowed: uint8 "
                "from 0 to 255. Scale them and convert with numpy.round(...).astype('uint8')."
            )
        if len(images) == 0:
            raise DataError(f"{self.name!r} holds no images.")
        if int(images.max()) - int(images.min()) < 2:
            raise DataError(
                f"images of {self.name!r} only take values from {images.min()} to {images.max()}; allowed: uint8 "
                "spread over 0 to 255. Were they scaled to [0, 1] before the conversion?"
            )
        if labels is not None and (labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer)):
            raise DataError(
                f"labels of {self.name!r} are {labels.dtype} of shape {labels.shape}; allowed: integers of shape "
                f"({len(images)},), one per image."
            )

    def card(self):
        """What a reader wants to know before training starts.

        Returns:
          Texts by heading.
        """
        count, height, width, channels = self.images.shape
        facts = {
            "name": self.name,
            "images": f"{count} of {height}x{width}x{channels} uint8",
            "range": f"{self.images.min()} to {self.images.max()}, mean {self.images.mean():.1f}",
        }
        if self.labels is None:
            return {**facts, "classes": "no labels"}
        sizes = np.bincount(self.labels)
        return {**facts, "classes": f"{len(sizes)} of {sizes.min()} to {sizes.max()} images (labels only for scores)"}


def load_digits():
    """The 1797 handwritten digits of 8x8 pixels that come with scikit-learn (UCI optical recognition, test part).

    Returns:
      A `Dataset` with images of [1797, 8, 8, 1].
    """
    from sklearn import datasets

    digits = datasets.load_digits()
    # Pixels count ink from 0 to 16.
    images = np.round(digits.images[..., None] * (255.0 / 16.0)).astype(np.uint8)
    return Dataset("digits", images, digits.target.astype(np.int32), tuple("0123456789"))


DATASETS = {"digits": load_digits}


def load_dataset(config):
    """Loads the dataset that a configuration names.

    Args:
      config: the configuration; `config.data.name` counts.

    Returns:
      A `Dataset`.

    Raises:
      DataError: if there is none of that name.
    """
    if config.data.name not in DATASETS:
        raise DataError(f"config.data.name is {config.data.name!r}; allowed: {', '.join(map(repr, DATASETS))}.")
    return DATASETS[config.data.name]()
