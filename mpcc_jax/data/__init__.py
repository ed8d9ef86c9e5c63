"""Datasets, and sampling from them."""

from mpcc_jax.data.dataset import Dataset, DataError, load_dataset

__all__ = ["DataError", "Dataset", "load_dataset"]
