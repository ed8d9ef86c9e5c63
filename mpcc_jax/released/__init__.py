"""The authors' PyTorch weights: as our parameters, and as runs of ours."""

from mpcc_jax.released.convert import from_released, to_released
from mpcc_jax.released.runs import export_released, import_released

__all__ = ["export_released", "from_released", "import_released", "to_released"]
