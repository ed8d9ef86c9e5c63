"""MPCC (Matching Priors and Conditionals for Clustering, ECCV 2020) in JAX and Flax."""

__version__ = "0.1.0"
