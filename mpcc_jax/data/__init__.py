"""Datasets, and sampling from them."""

from mpcc_jax.data.dataset import DataError, Dataset, load_dataset

__all__ = ["DataError", "Dataset", "load_dataset"]
