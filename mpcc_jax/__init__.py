"""MPCC (Matching Priors and Conditionals for Clustering, ECCV 2020) in JAX and Flax."""

import importlib

__all__ = ["MPCC", "TrainedModel", "get_config", "load", "losses", "prior", "train"]
__version__ = "0.1.0"

# Imported when they are asked for: the command line answers --help without jax, the equations need jax alone.
_LAZY = {
    "MPCC": "mpcc_jax.estimator",
    "TrainedModel": "mpcc_jax.trained_model",
    "get_config": "mpcc_jax.config",
    "load": "mpcc_jax.trained_model",
    "train": "mpcc_jax.training.train",
}


def __getattr__(name: str):
    if name in ("losses", "prior"):
        return importlib.import_module(f"mpcc_jax.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module 'mpcc_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
