"""What is compared: the paper's variant, the released code's, and the paper's with one convention of the other."""

import dataclasses

from mpcc_jax.variants import VARIANTS, Conventions
from reproduce.errors import ReproduceError

PREFIX = "paper+"
SINGLE_DIFFERENCES = tuple(PREFIX + field.name for field in dataclasses.fields(Conventions))
ARMS = (*VARIANTS, *SINGLE_DIFFERENCES)


def set_arm(config, arm):
    """Turns a configuration into that of an arm.

    Args:
      config: the configuration; changed.
      arm: one of `ARMS`.

    Raises:
      ReproduceError: if there is no such arm.
    """
    if arm not in ARMS:
        raise ReproduceError(f"the arm is {arm!r}; allowed: {', '.join(ARMS)}.")
    config.variant = arm.split("+")[0]
    if arm.startswith(PREFIX):
        field = arm.removeprefix(PREFIX)
        config.conventions[field] = getattr(VARIANTS["released"], field)
