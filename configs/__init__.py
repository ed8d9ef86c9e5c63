"""One file per experiment, over the defaults in `mpcc_jax.config`."""
