"""MPCC (Matching Priors and Conditionals for Clustering, ECCV 2020) in JAX and Flax."""

from mpcc_jax import losses, prior

__all__ = ["losses", "prior"]
__version__ = "0.1.0"
