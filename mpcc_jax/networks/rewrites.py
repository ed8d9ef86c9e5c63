"""Forms of the same function that need less work, one switch each; `config.speed` sets them."""

import dataclasses
from collections.abc import Callable

from mpcc_jax.networks import convolution
from mpcc_jax.networks.winograd import fast_conv2d


@dataclasses.dataclass(frozen=True)
class Rewrites:
    """Which exact rewrites the networks use. All on and all off compute the same up to rounding (tests prove it).

    Attributes:
      shortcut_first: 1x1 convolutions at the lower of the two resolutions around them: before upsampling, after pooling
        (4 times fewer multiplications).
      pool_first: 3x3 convolution and average pooling as a 3x3 convolution of stride 2 over the means of all 2x2 windows
        (4 times fewer).
      subpixel: upsampling and 3x3 convolution as four 2x2 convolutions before the upsampling (2.25 times fewer; with
        bilinear upsampling, for its borders, 1.8 times to 32x32, 1.5 times to 16x16, and it is left alone to 8x8; not
        on TPU).
      winograd: other 3x3 convolutions of many channels by Winograd's form, on CPU (2 times fewer).
    """

    shortcut_first: bool = True
    pool_first: bool = True
    subpixel: bool = True
    winograd: bool = True

    @property
    def conv2d(self) -> Callable:
        """The convolution of stride 1."""
        return fast_conv2d if self.winograd else convolution.conv2d
