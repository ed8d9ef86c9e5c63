"""MPCC (Matching Priors and Conditionals for Clustering, ECCV 2020) in JAX and Flax."""

import importlib

from mpcc_jax import losses, prior

__all__ = ["MPCC", "TrainedModel", "load", "losses", "prior"]
__version__ = "0.1.0"

# Imported when they are asked for: they need packages that the equations do without.
_LAZY = {"load": "mpcc_jax.trained_model", "TrainedModel": "mpcc_jax.trained_model", "MPCC": "mpcc_jax.estimator"}


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module 'mpcc_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
