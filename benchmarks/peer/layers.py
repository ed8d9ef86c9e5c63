"""Spectral normalisation of a whole network at once, and batch normalisation of several passes at once."""

import torch
from torch import nn
from torch.nn import functional


class SpectralLayer(nn.Module):
    """Weight [out, in] or [out, in, h, w], bias, and the state of the power iteration; applied by its owner.

    `position` is its place among the layers of the network, and in the list that `spectral_scales` returns.
    """

    def __init__(self, *shape, bias=True):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.register_buffer("u", torch.zeros(shape[0]))
        self.register_buffer("sigma", torch.ones(()))
        self.position = -1


def number_layers(*networks):
    """All spectral layers in order, numbered; networks that share a first part must be numbered with it first."""
    layers = [module for network in networks for module in network.modules() if isinstance(module, SpectralLayer)]
    for position, layer in enumerate(layers):
        layer.position = position
    return layers


def _normalise(rows, epsilon):
    return rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True).clamp_min(epsilon)


def spectral_scales(layers: list[SpectralLayer], passes: int, epsilon: float) -> list[torch.Tensor]:
    """1 / sigma of every layer, each [T], differentiable in the weights with u and v constant; advances u.

    One power iteration per layer and pass; layers of equal shape go through it as one batch.
    """
    groups = {}
    for layer in layers:
        groups.setdefault(layer.weight.shape, []).append(layer)
    scales = [None] * len(layers)
    for members in groups.values():
        matrices = torch.stack([layer.weight.flatten(1) for layer in members])
        u = torch.stack([layer.u for layer in members])[:, None]
        sigmas = []
        for _ in range(passes):
            v = _normalise(u @ matrices.detach(), epsilon)
            product = v @ matrices.mT
            u = _normalise(product.detach(), epsilon)
            sigmas.append((product * u).sum((1, 2)))
        inverse = torch.stack(sigmas, 1).reciprocal()
        torch._foreach_copy_([layer.u for layer in members], list(u[:, 0].unbind()))
        torch._foreach_copy_([layer.sigma for layer in members], list(sigmas[-1].detach().unbind()))
        for layer, scale in zip(members, inverse.unbind(), strict=True):
            scales[layer.position] = scale
    return scales


def per_example(scale, examples):
    """A factor per pass, [T], as a factor per example, [T * B]."""
    passes = scale.shape[0]
    return scale[:, None].expand(passes, examples // passes).reshape(examples)


def linear(layer, x, scale):
    """Spectrally normalised linear layer on T passes: the scale goes to the weight, or for T > 1 to the input."""
    if scale.shape[0] == 1:
        return functional.linear(x, layer.weight * scale, layer.bias)
    return functional.linear(x * per_example(scale, x.shape[0])[:, None], layer.weight, layer.bias)


def conv1x1(layer, x, scale):
    """Spectrally normalised 1x1 convolution on T passes."""
    if scale.shape[0] == 1:
        return functional.conv2d(x, layer.weight * scale[:, None, None, None], layer.bias)
    return functional.conv2d(x * per_example(scale, x.shape[0])[:, None, None, None], layer.weight, layer.bias)


def _affine_relu(x, gain, bias):
    return torch.addcmul(bias[:, :, None, None], x, gain[:, :, None, None]).relu_().to(x.dtype)


class NormReLU(nn.Module):
    """relu(gain * standardised + bias) with the statistics of each of T passes, times a factor per pass.

    The factor is 1 / sigma of the convolution that follows: it is positive and passes through the ReLU, so that the
    convolution can run on all passes with one weight.
    """

    def __init__(self, features, momentum, epsilon):
        super().__init__()
        self.momentum, self.epsilon = momentum, epsilon
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.ones(features))

    def forward(self, x, gain, bias, scale):
        """Args: x [T * B, C, H, W]; gain, bias [T * B, C] or [1, C]; scale [T]. Returns [T * B, C, H, W]."""
        running, factor = (self.mean, self.var), per_example(scale, x.shape[0])[:, None]
        gain, bias, parts = gain * factor, bias * factor, x.chunk(scale.shape[0])
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            parts = [
                functional.batch_norm(part, *running, None, None, True, self.momentum, self.epsilon) for part in parts
            ]
            x = torch.cat(parts) if len(parts) > 1 else parts[0]
            return _affine_relu(x, gain, bias)
        # Without a gradient the statistics are enough, a third of the time of batch_norm on CPU in NHWC.
        statistics = [torch.batch_norm_update_stats(part, *running, self.momentum) for part in parts]
        mean, var = (
            torch.stack(values).repeat_interleave(len(parts[0]), 0) for values in zip(*statistics, strict=True)
        )
        gain = gain * (var + self.epsilon).rsqrt()
        return _affine_relu(x, gain, bias - mean * gain)
