"""Data sets by name. To add one, write a function from `config.data` to a `Source` and put it here."""

import functools

from mpcc_jax.data.arrays import digits_source, npz_source
from mpcc_jax.data.dataset import DataError
from mpcc_jax.data.image_folder import folder_source
from mpcc_jax.data.omniglot import omniglot_source
from mpcc_jax.data.tfds_source import tfds_source


def _benchmark(name, dataset, **options):
    """The paper's rule: clustering sees training and test images together."""
    return functools.partial(tfds_source, name=name, dataset=dataset, split="train+test", **options)


def _any_tfds(settings, location):
    return tfds_source(settings, f"tfds:{location}", location, "train")


DATASETS = {
    "digits": digits_source,
    "mnist": _benchmark("mnist", "mnist"),
    "fashion_mnist": _benchmark("fashion_mnist", "fashion_mnist"),
    "cifar10": _benchmark("cifar10", "cifar10"),
    "cifar20": _benchmark("cifar20", "cifar100", label_feature="coarse_label"),
    "omniglot100": omniglot_source,
}
LOCATIONS = {"folder": folder_source, "npz": npz_source, "tfds": _any_tfds}


def find_source(settings):
    """The source that a configuration names.

    Args:
      settings: `config.data`.

    Returns:
      A `Source`, not opened.

    Raises:
      DataError: if there is none of that name, or nothing is there.
    """
    kind, colon, location = settings.name.partition(":")
    if colon and kind in LOCATIONS:
        return LOCATIONS[kind](settings, location)
    if settings.name not in DATASETS:
        raise DataError(
            f"config.data.name is {settings.name!r}; allowed: {', '.join(map(repr, DATASETS))}, 'folder:PATH', "
            "'npz:PATH', 'tfds:NAME'."
        )
    return DATASETS[settings.name](settings)
