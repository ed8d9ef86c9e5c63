"""Generator, trunk and the two heads (tables 5 to 7), NCHW. Every pass is a training pass."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.peer.layers import NormReLU, SpectralLayer, conv1x1, linear

BOTTOM_SIZE = 4


class ConditionalNormReLU(nn.Module):
    """Batch norm whose gain and bias depend on the component (a table) or on its embedding and z (linear layers)."""

    def __init__(self, settings, features, condition_dim):
        super().__init__()
        by_label = settings.conditioning == "conditional"
        for name in ("gain", "bias"):
            table = nn.Embedding(settings.num_clusters, features)
            setattr(self, name, table if by_label else SpectralLayer(features, condition_dim, bias=False))
        self.norm = NormReLU(features, settings.batch_norm_momentum, settings.batch_norm_epsilon)

    def forward(self, x, condition, scales, following):
        """Args: x; condition; scales; following, the convolution that comes next."""
        gain, bias = (
            layer(condition) if isinstance(layer, nn.Embedding) else linear(layer, condition, scales[layer.position])
            for layer in (self.gain, self.bias)
        )
        return self.norm(x, 1.0 + gain, bias, scales[following.position])


class GeneratorBlock(nn.Module):
    """Figure 4 (a)."""

    def __init__(self, settings, width, features, resample, condition_dim, rewritten):
        super().__init__()
        self.resample, self.mode, self.rewritten = resample, settings.upsampling, rewritten
        self.norm1 = ConditionalNormReLU(settings, width, condition_dim)
        self.conv1 = SpectralLayer(features, width, 3, 3)
        self.norm2 = ConditionalNormReLU(settings, features, condition_dim)
        self.conv2 = SpectralLayer(features, features, 3, 3)
        self.shortcut = SpectralLayer(features, width, 1, 1) if resample or width != features else None

    def _up(self, x):
        if not self.resample:
            return x
        options = {"align_corners": False} if self.mode == "bilinear" else {}
        return functional.interpolate(x, scale_factor=2, mode=self.mode, **options)

    def forward(self, x, condition, scales):
        """Args: x [T * B, C, H, W]; condition; scales. Returns [T * B, F, H', W']."""
        shortcut = x if self.rewritten else self._up(x)
        if self.shortcut is not None:
            shortcut = conv1x1(self.shortcut, shortcut, scales[self.shortcut.position])
        if self.rewritten:
            shortcut = self._up(shortcut)
        x = self._up(self.norm1(x, condition, scales, self.conv1))
        x = functional.conv2d(x, self.conv1.weight, self.conv1.bias, padding=1)
        x = self.norm2(x, condition, scales, self.conv2)
        return functional.conv2d(x, self.conv2.weight, self.conv2.bias, padding=1) + shortcut


class Generator(nn.Module):
    """x = G(z, y) for T passes of B latents at once."""

    def __init__(self, settings, rewritten):
        super().__init__()
        self.conditioning, self.width, width = settings.conditioning, settings.input_width, settings.input_width
        parts = len(settings.generator) + 1
        part = settings.latent_dim // parts if self.conditioning == "split" else settings.latent_dim
        if self.conditioning != "conditional":
            self.embed = nn.Embedding(settings.num_clusters, settings.latent_dim)
        self.linear = SpectralLayer(width * BOTTOM_SIZE**2, part)
        self.blocks = nn.ModuleList()
        for features, resample in settings.generator:
            condition_dim = settings.latent_dim + part
            self.blocks.append(GeneratorBlock(settings, width, features, resample, condition_dim, rewritten))
            width = features
        self.output_norm = NormReLU(width, settings.batch_norm_momentum, settings.batch_norm_epsilon)
        self.output_gain = nn.Parameter(torch.ones(width))
        self.output_bias = nn.Parameter(torch.zeros(width))
        self.output = SpectralLayer(settings.image_channels, width, 3, 3)

    def forward(self, z, y, scales):
        """Args: z [T * B, J]; y [T * B]; scales, each [T]. Returns images [T * B, C, H, W]."""
        count = len(self.blocks)
        first, conditions = z, [y] * count
        if self.conditioning != "conditional":
            chunks = z.chunk(count + 1, dim=1) if self.conditioning == "split" else [z] * (count + 1)
            embedded = self.embed(y)
            first, conditions = chunks[0], [torch.cat([embedded, chunk], 1) for chunk in chunks[1:]]
        x = linear(self.linear, first, scales[self.linear.position])
        x = x.view(-1, self.width, BOTTOM_SIZE, BOTTOM_SIZE)
        for block, condition in zip(self.blocks, conditions, strict=True):
            x = block(x, condition, scales)
        x = self.output_norm(x, self.output_gain[None], self.output_bias[None], scales[self.output.position])
        return functional.conv2d(x, self.output.weight, self.output.bias, padding=1).tanh()


class Block(nn.Module):
    """Figure 4 (b): a residual block of the trunk or of a head."""

    def __init__(self, width, features, resample, preactivation, rewritten):
        super().__init__()
        self.resample, self.preactivation, self.rewritten = resample, preactivation, rewritten
        self.conv1 = SpectralLayer(features, width, 3, 3)
        self.conv2 = SpectralLayer(features, features, 3, 3)
        self.shortcut = SpectralLayer(features, width, 1, 1) if resample or width != features else None

    def forward(self, x, scales):
        """Args: x [B, C, H, W]; scales, each [1]. Returns [B, F, H', W']."""

        def weight(layer):
            return layer.weight * scales[layer.position][:, None, None, None]

        pool_first = self.resample and (self.rewritten or not self.preactivation)
        shortcut = functional.avg_pool2d(x, 2) if pool_first else x
        if self.shortcut is not None:
            shortcut = functional.conv2d(shortcut, weight(self.shortcut), self.shortcut.bias)
        if self.resample and not pool_first:
            shortcut = functional.avg_pool2d(shortcut, 2)
        x = x.relu() if self.preactivation else x
        x = functional.conv2d(x, weight(self.conv1), self.conv1.bias, padding=1).relu_()
        if self.resample and self.rewritten:
            # Means of all 2x2 windows commute with the convolution, which then needs every second pixel alone.
            means = functional.avg_pool2d(x, 2, stride=1, padding=1)
            return functional.conv2d(means, weight(self.conv2), self.conv2.bias, stride=2) + shortcut
        x = functional.conv2d(x, weight(self.conv2), self.conv2.bias, padding=1)
        return (functional.avg_pool2d(x, 2) if self.resample else x) + shortcut


def _blocks(width, stages, rewritten, *, sees_image=False):
    blocks = nn.ModuleList()
    for features, resample in stages:
        blocks.append(Block(width, features, resample, not sees_image or len(blocks) > 0, rewritten))
        width = features
    return blocks


class Trunk(nn.Module):
    """The blocks that discriminator and encoder share."""

    def __init__(self, settings, rewritten):
        super().__init__()
        self.blocks = _blocks(settings.image_channels, settings.trunk, rewritten, sees_image=True)

    def forward(self, x, scales):
        """Args: x images [B, C, H, W]; scales. Returns [B, F, h, w]."""
        for block in self.blocks:
            x = block(x, scales)
        return x


class DiscriminatorHead(nn.Module):
    """Remaining blocks, ReLU, sum over positions, linear."""

    def __init__(self, settings, rewritten):
        super().__init__()
        self.blocks = _blocks(settings.trunk[-1][0], settings.discriminator, rewritten)
        self.linear = SpectralLayer(1, settings.discriminator[-1][0])

    def forward(self, x, scales):
        """Args: x [B, F, h, w]; scales. Returns logits [B]."""
        for block in self.blocks:
            x = block(x, scales)
        return linear(self.linear, x.relu().sum((2, 3)), scales[self.linear.position])[:, 0]


class EncoderHead(nn.Module):
    """Remaining blocks, flatten, and two linear layers each for mean and log variance."""

    def __init__(self, settings, rewritten):
        super().__init__()
        self.blocks = _blocks(settings.trunk[-1][0], settings.encoder, rewritten)
        downs = sum(resample for _, resample in (*settings.trunk, *settings.encoder))
        flat = settings.encoder[-1][0] * (settings.resolution >> downs) ** 2
        self.mean1, self.log_var1 = SpectralLayer(flat // 2, flat), SpectralLayer(flat // 2, flat)
        self.mean2, self.log_var2 = (SpectralLayer(settings.latent_dim, flat // 2) for _ in range(2))

    def forward(self, x, scales):
        """Args: x [B, F, h, w]; scales. Returns mean and log variance, each [B, J]."""
        for block in self.blocks:
            x = block(x, scales)
        x = x.flatten(1)
        mean, log_var = (linear(layer, x, scales[layer.position]).relu() for layer in (self.mean1, self.log_var1))
        return (
            linear(self.mean2, mean, scales[self.mean2.position]),
            linear(self.log_var2, log_var, scales[self.log_var2.position]),
        )
