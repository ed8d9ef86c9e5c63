"""What the peer computes (sizes, conventions, rates) and how (compiled, memory format, precision)."""

import dataclasses


class VariantError(ValueError):
    """A variant of the peer that does not exist or cannot run here; the message says what is allowed."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """One MPCC iteration. The same names as in our configuration and conventions, flat.

    Attributes:
      generator, trunk, discriminator, encoder: (feature maps, whether to resample) of every residual block.
      input_width: feature maps after the generator's first linear layer.
      momentum: of the batch norm's running statistics.
    """

    resolution: int
    image_channels: int
    input_width: int
    generator: tuple[tuple[int, bool], ...]
    trunk: tuple[tuple[int, bool], ...]
    discriminator: tuple[tuple[int, bool], ...]
    encoder: tuple[tuple[int, bool], ...]
    latent_dim: int
    num_clusters: int
    conditioning: str
    upsampling: str
    log_constant: float
    sigma_floor: str
    latent_gradient: bool
    prior_optimizers: str
    sigma_min: float
    initial_log_var: float
    prior_weight: float
    batch_size: int
    discriminator_steps: int
    encoder_steps: int
    learning_rate: float
    prior_learning_rate: float
    beta1: float
    beta2: float
    epsilon: float
    ema_decay: float
    ema_start: int
    momentum: float
    batch_norm_epsilon: float
    spectral_epsilon: float


_FLAGS = {
    "eager": {},
    "channels_last": {"channels_last": True},
    "compile": {"compiled": True},
    "batched": {"batched": True},
    "plain": {"rewritten": False},
    "tf32": {"precision": "tf32"},
    "bf16": {"precision": "bf16"},
    "graph": {"graph": True},
}


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the iteration is run; none of it changes what is computed, except for rounding.

    Attributes:
      compiled: the networks and losses through torch.compile.
      channels_last: NHWC in memory.
      batched: the passes of the frozen generator as one batch, with statistics and spectral norms per pass.
      rewritten: 1x1 convolutions at the lower resolution, 3x3 + average pooling as 3x3 of stride 2 after means.
      precision: "float32", "tf32" (CUDA) or "bf16" (autocast).
      graph: the iteration captured as one CUDA graph.
    """

    compiled: bool = False
    channels_last: bool = False
    batched: bool = False
    rewritten: bool = True
    precision: str = "float32"
    graph: bool = False


def parse_variant(text):
    """Reads a variant.

    Args:
      text: names joined by "+", for example "compile+channels_last".

    Returns:
      A `Variant`.

    Raises:
      VariantError: if a name is unknown, or both tf32 and bf16 are asked for.
    """
    names = text.split("+")
    unknown = [name for name in names if name not in _FLAGS]
    if unknown:
        raise VariantError(f"variant {text!r} has {', '.join(unknown)}; allowed, joined by +: {', '.join(_FLAGS)}.")
    if {"tf32", "bf16"} <= set(names):
        raise VariantError(f"variant {text!r} has two precisions; name tf32 or bf16.")
    return Variant(**{field: value for name in names for field, value in _FLAGS[name].items()})
