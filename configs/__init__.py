"""One file per experiment, over the defaults in `mpcc_jax.config`; the rows of tables 1 to 3 are in `tables.py`."""
