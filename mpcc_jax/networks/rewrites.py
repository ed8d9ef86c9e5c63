"""Forms of the same function that need less work, one switch each; `config.speed` sets them."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Rewrites:
    """Which exact rewrites the networks use. All on and all off compute the same up to rounding (tests prove it).

    Attributes:
      shortcut_first: 1x1 convolutions at the lower of the two resolutions around them: before upsampling, after pooling
        (4 times fewer multiplications).
      pooled_kernel: 3x3 convolution and average pooling as one 4x4 convolution of stride 2 (2.25 times fewer).
      subpixel: nearest upsampling and 3x3 convolution as four 2x2 convolutions before the upsampling (2.25 times
        fewer; the released variant alone upsamples so).
      grouped_spectral_norms: power iterations of all layers of one shape as one batch (fewer, larger operations). Off:
        on CPU it wins nothing (1 to 4 % slower, measured), and on a GPU it has not been measured.
    """

    shortcut_first: bool = True
    pooled_kernel: bool = True
    subpixel: bool = True
    grouped_spectral_norms: bool = False
