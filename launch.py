"""Trains MPCC, and uses what was trained: `python launch.py --help`. The command line is `mpcc_jax.cli`."""

import sys

from mpcc_jax.cli import main

if __name__ == "__main__":
    sys.exit(main())
