"""What the peer computes (sizes, conventions, rates) and how (compiled, memory format, precision)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Settings:
    """One MPCC iteration; the names are those of our configuration and conventions."""

    # Feature maps, and whether to resample, of every residual block.
    generator: tuple[tuple[int, bool], ...]
    trunk: tuple[tuple[int, bool], ...]
    discriminator: tuple[tuple[int, bool], ...]
    encoder: tuple[tuple[int, bool], ...]
    input_width: int  # feature maps after the generator's first linear layer
    resolution: int
    image_channels: int
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
    batch_norm_momentum: float
    batch_norm_epsilon: float
    spectral_epsilon: float


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the iteration is run; none of it changes what is computed, except for rounding."""

    compiled: bool = False  # networks and losses through torch.compile
    channels_last: bool = False  # NHWC in memory
    batched: bool = False  # the frozen generator's passes as one batch, statistics and spectral norms per pass
    rewritten: bool = True  # 1x1 at the lower resolution, 3x3 + pooling as 3x3 of stride 2 after means
    precision: str = "float32"  # or "tf32" (CUDA) or "bf16" (autocast)
    graph: bool = False  # the iteration captured as one CUDA graph


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


def parse_variant(text: str) -> Variant:
    """Reads names joined by "+", for example "compile+channels_last"; ValueError if there is no such variant."""
    names = text.split("+")
    unknown = [name for name in names if name not in _FLAGS]
    if unknown:
        raise ValueError(f"variant {text!r} has {', '.join(unknown)}; allowed, joined by +: {', '.join(_FLAGS)}.")
    if {"tf32", "bf16"} <= set(names):
        raise ValueError(f"variant {text!r} has two precisions; name tf32 or bf16.")
    return Variant(**{field: value for name in names for field, value in _FLAGS[name].items()})
