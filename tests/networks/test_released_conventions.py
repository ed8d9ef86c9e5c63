"""All three generators and the projection discriminator against a plain NumPy forward pass.

The pass is written from the conventions in tests/golden/README.md, in float64, NCHW, on released names; golden data
exist here for one of the modes only. It reproduces that one too.
"""

import functools

import jax
import numpy as np
import pytest

from mpcc_jax.model import discriminate, generate
from mpcc_jax.released.convert import to_released
from tests import golden_data
from tests.conftest import random_variables
from tests.networks.references import make_model


def unit(vector):
    return vector / max(np.linalg.norm(vector), 1e-8)


class NumpyNetworks:
    """Evaluation-mode forward passes on a released state dict."""

    def __init__(self, tensors):
        self.tensors = {name: np.asarray(value, np.float64) for name, value in tensors.items()}

    def weight(self, name):
        """W / sigma after one power iteration, if the layer has a u0."""
        weight = self.tensors[f"{name}.weight"]
        if f"{name}.u0" not in self.tensors:
            return weight
        matrix = weight.reshape(weight.shape[0], -1)
        v = unit(self.tensors[f"{name}.u0"][0] @ matrix)
        u = unit(v @ matrix.T)
        return weight / (v @ matrix.T @ u)

    def linear(self, name, x):
        return x @ self.weight(name).T + self.tensors.get(f"{name}.bias", 0.0)

    def conv(self, name, x):
        weight = self.weight(name)
        pad = weight.shape[2] // 2
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
        return np.einsum("bchwij,ocij->bohw", windows, weight) + self.tensors[f"{name}.bias"][:, None, None]

    def standardize(self, name, x):
        mean, var = (self.tensors[f"{name}.stored_{key}"][:, None, None] for key in ("mean", "var"))
        return (x - mean) / np.sqrt(var + 1e-5)

    def conditional_norm(self, name, x, condition):
        if condition.ndim == 1:
            gain, bias = (self.tensors[f"{name}.{key}.weight"][condition] for key in ("gain", "bias"))
        else:
            gain, bias = (self.linear(f"{name}.{key}", condition) for key in ("gain", "bias"))
        return self.standardize(name, x) * (1 + gain)[:, :, None, None] + bias[:, :, None, None]

    def generator(self, z, y, mode, num_blocks):
        if mode == "conditional":
            first, conditions = z, [y] * num_blocks
        else:
            chunks = np.split(z, num_blocks + 1, axis=1) if mode == "split" else [z] * (num_blocks + 1)
            shared = self.tensors["G.shared.weight"][y]
            first, conditions = chunks[0], [np.concatenate([shared, chunk], axis=1) for chunk in chunks[1:]]
        x = self.linear("G.linear", first)
        x = x.reshape(len(z), -1, 4, 4)
        for i, condition in enumerate(conditions):
            name = f"G.blocks.{i}.0"
            t = np.maximum(self.conditional_norm(f"{name}.bn1", x, condition), 0)
            t, s = (a.repeat(2, axis=2).repeat(2, axis=3) for a in (t, x))
            t = self.conv(f"{name}.conv1", t)
            t = self.conv(f"{name}.conv2", np.maximum(self.conditional_norm(f"{name}.bn2", t, condition), 0))
            x = t + self.conv(f"{name}.conv_sc", s)
        gain, bias = (self.tensors[f"G.output_layer.0.{key}"][:, None, None] for key in ("gain", "bias"))
        x = np.maximum(self.standardize("G.output_layer.0", x) * gain + bias, 0)
        return np.tanh(self.conv("G.output_layer.2", x))

    def discriminator(self, x, y, downs, projection):
        for i, down in enumerate(downs):
            name = f"D.blocks.{i}.0"
            h = self.conv(f"{name}.conv1", x if i == 0 else np.maximum(x, 0))
            h = self.conv(f"{name}.conv2", np.maximum(h, 0))
            if f"{name}.conv_sc.weight" in self.tensors:
                x = self.conv(f"{name}.conv_sc", x)
            x = self.pool(h) + self.pool(x) if down else h + x
        h = np.maximum(x, 0).sum((2, 3))
        logits = self.linear("D.linear", h)[:, 0]
        return logits + (self.weight("D.embed")[y] * h).sum(1) if projection else logits

    @staticmethod
    def pool(x):
        batch, channels, height, width = x.shape
        return x.reshape(batch, channels, height // 2, 2, width // 2, 2).mean((3, 5))


def to_nhwc(array):
    return np.moveaxis(array, 1, -1)


@pytest.mark.parametrize(("mode", "conditional"), [("split", True), ("shared", False), ("conditional", False)])
def test_every_mode(mode, conditional):
    model = make_model(
        resolution=16,
        image_channels=3,
        variant="released",
        conditional=conditional,
        conditioning=mode,
        latent_dim=12,
        channels=2,
    )
    rng = np.random.default_rng(0)
    z, x, y = rng.normal(size=(5, 12)), rng.uniform(-1, 1, (5, 3, 16, 16)), np.asarray([0, 1, 2, 2, 1])
    with jax.enable_x64(True):
        params, buffers = random_variables(model, np.float64)
        networks = NumpyNetworks(to_released(params, buffers))
        images, _ = jax.jit(functools.partial(generate, model, train=False))(params, buffers, z, y)
        logits, _ = jax.jit(functools.partial(discriminate, model, train=False))(params, buffers, to_nhwc(x), y)
    np.testing.assert_allclose(images, to_nhwc(networks.generator(z, y, mode, 2)), atol=1e-9)
    expected = networks.discriminator(x, y, (True, False, False, False), conditional)
    np.testing.assert_allclose(logits, expected, rtol=1e-9)


def test_the_numpy_pass_reproduces_the_golden_one():
    arrays, _ = golden_data.load("golden_cbn.npz")
    networks = NumpyNetworks({name: value for name, value in arrays.items() if name[:2] in ("G.", "D.")})
    images = networks.generator(arrays["in.z"].astype(np.float64), arrays["in.y"], "conditional", 3)
    np.testing.assert_allclose(images, arrays["out.G_eval"], atol=4e-6)
    logits = networks.discriminator(arrays["in.x"].astype(np.float64), None, (True, True, False, False), False)
    scale = 1 + np.abs(arrays["out.D_eval"]).max()
    np.testing.assert_allclose(logits, arrays["out.D_eval"][:, 0], atol=2e-6 * scale)
