"""Channels and resolutions of the three networks, one table (tables 5, 6 and 7 of the paper)."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stage:
    """One residual block."""

    width: int  # output feature maps, in units of the channel multiplier C
    resample: bool = False  # whether to double (generator) or halve (discriminator, encoder) the resolution


@dataclasses.dataclass(frozen=True)
class Architecture:
    """The residual blocks for one image resolution."""

    input_width: int  # feature maps after the generator's first linear layer, in units of C
    generator: tuple[Stage, ...]  # from 4x4 to the image
    trunk: tuple[Stage, ...]  # the first three blocks of the discriminator, which the encoder shares
    discriminator: tuple[Stage, ...]  # the discriminator's remaining blocks
    encoder: tuple[Stage, ...]  # the encoder's remaining blocks


BOTTOM_SIZE = 4

_UP, _DOWN, _KEEP = Stage(4, True), Stage(4, True), Stage(4)


def _resampling(*widths: int) -> tuple[Stage, ...]:
    return tuple(Stage(width, True) for width in widths)


# 32 is the paper's. 16 and 8 drop the blocks that would resample below it: the trunk ends at 8x8 (4x4 for 8) and the
# encoder's features at 2x2, as in the paper. 64 and 128 are not in the paper: generator and discriminator have BigGAN's
# widths (no attention), and the encoder goes on from the shared blocks as the discriminator does, to 2x2.
ARCHITECTURES = {
    8: Architecture(4, (_UP,), (_DOWN, _KEEP, _KEEP), (_KEEP,), (_KEEP, _DOWN, _KEEP)),
    16: Architecture(4, (_UP,) * 2, (_DOWN, _KEEP, _KEEP), (_KEEP,), (_KEEP, _DOWN, _DOWN)),
    32: Architecture(4, (_UP,) * 3, (_DOWN, _DOWN, _KEEP), (_KEEP,), (_KEEP, _DOWN, _DOWN)),
    64: Architecture(
        input_width=16,
        generator=_resampling(16, 8, 4, 2),
        trunk=_resampling(1, 2, 4),
        discriminator=(Stage(8, True), Stage(16)),
        encoder=_resampling(8, 16),
    ),
    128: Architecture(
        input_width=16,
        generator=_resampling(16, 8, 4, 2, 1),
        trunk=_resampling(1, 2, 4),
        discriminator=(Stage(8, True), Stage(16, True), Stage(16)),
        encoder=_resampling(8, 16, 16),
    ),
}
