"""In what precision the networks compute; parameters, statistics, losses and optimizers are float32 in all but one."""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Precision:
    """How convolutions and matrix products are computed.

    Attributes:
      activations: what images and features are rounded to between the layers; None leaves them as they come.
      matmul: a value of `jax.default_matmul_precision`: "highest" is float32 throughout, "high" TensorFloat-32 on
        NVIDIA GPUs (on TPUs three bfloat16 passes), "default" the fastest. CPUs have one precision only.
    """

    activations: str | None
    matmul: str

    def scope(self) -> contextlib.AbstractContextManager:
        """Returns a context; what is traced in it has this precision."""
        return jax.default_matmul_precision(self.matmul)


PRECISIONS = {
    "float32": Precision(None, "highest"),
    "tf32": Precision(None, "high"),
    "bfloat16": Precision("bfloat16", "default"),
    "float64": Precision(None, "highest"),  # where jax is told to use it
}


def at_least_float32(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Casts to float32 what has fewer bits."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
