"""Data sets, their preparation, and sampling from them."""

import importlib
from typing import Any

from mpcc_jax.errors import DataError

__all__ = ["DataError", "Dataset", "from_arrays", "load_dataset", "prepare_dataset"]

# Imported when they are asked for: reading pictures needs packages that training does without.
_LAZY = {
    "Dataset": "mpcc_jax.data.dataset",
    "from_arrays": "mpcc_jax.data.arrays",
    "load_dataset": "mpcc_jax.data.sources",
    "prepare_dataset": "mpcc_jax.data.sources",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mpcc_jax.data' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
