"""Data sets, their preparation, and sampling from them."""

from mpcc_jax.data.arrays import from_arrays
from mpcc_jax.data.dataset import DataError, Dataset
from mpcc_jax.data.loading import load_dataset, prepare_dataset

__all__ = ["DataError", "Dataset", "from_arrays", "load_dataset", "prepare_dataset"]
