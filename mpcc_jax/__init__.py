"""MPCC (Matching Priors and Conditionals for Clustering, ECCV 2020) in JAX and Flax."""

import importlib

__all__ = ["MPCC", "TrainedModel", "load", "losses", "prior"]
__version__ = "0.1.0"

# Imported when they are asked for: the command line answers --help without jax, the equations without orbax.
_LAZY = {"load": "mpcc_jax.trained_model", "TrainedModel": "mpcc_jax.trained_model", "MPCC": "mpcc_jax.estimator"}
_MODULES = ("losses", "prior")


def __getattr__(name):
    if name in _MODULES:
        return importlib.import_module(f"mpcc_jax.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'mpcc_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
