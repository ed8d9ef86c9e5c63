"""Names and layouts of the authors' PyTorch weights, both ways.

The mapping starts from our own tree: for every leaf there is one released name and one change of layout, so the same
code reads and writes all three generators, the projection discriminator, and encoders with and without a trunk of
their own. Released tensors are arrays by name, with the prefixes "G.", "D.", "E.", "P." and perhaps "G_ema.".
"""

import functools
import re
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.errors import WeightsError
from mpcc_jax.model import Model, init
from mpcc_jax.networks.architecture import ARCHITECTURES

_LAYERS = {
    "conv_shortcut": "conv_sc",
    "norm1": "bn1",
    "norm2": "bn2",
    "shared_embed": "shared",
    "output_norm": "output_layer.0",
    "output_conv": "output_layer.2",
    "mean1": "linear_mu1",
    "mean2": "linear_mu2",
    "log_var1": "linear_lv1",
    "log_var2": "linear_lv2",
}
_BLOCKS = {
    "generator": ("G.blocks", 0),
    "trunk": ("D.blocks", 0),
    "discriminator": ("D.blocks", 3),
    "encoder": ("E.blocks2", 0),
    "encoder_trunk": ("E.blocks", 0),
}
_PREFIXES = {"generator": "G", "trunk": "D", "discriminator": "D", "encoder": "E", "encoder_trunk": "E"}
_PRIOR = {"mean": "P.mu_c", "log_var": "P.lv_c"}
_SHOWN = 5  # tensors in an error
_LEAVES = {
    ("params", "kernel"): "weight",
    ("params", "embedding"): "weight",
    ("params", "gain"): "gain",
    ("params", "bias"): "bias",
    ("spectral", "u"): "u0",
    ("spectral", "sigma"): "sv0",
    ("batch_stats", "mean"): "stored_mean",
    ("batch_stats", "var"): "stored_var",
}


def _identify(path: tuple) -> tuple[str, str]:
    """The released name of a leaf of (params, buffers), such as "G.blocks.0.0.conv1.weight", and its kind."""
    tree, (part, *layers, leaf) = path[0].idx, [key.key for key in path[1:]]
    if part == "prior":
        return _PRIOR[leaf], leaf
    collection = "params" if tree == 0 else layers.pop(0)
    names = [_PREFIXES[part]]
    if layers[0].startswith("block"):
        blocks, first = _BLOCKS[part]
        names = [f"{blocks}.{first + int(layers.pop(0).removeprefix('block'))}.0"]
    names += [_LAYERS.get(layer, layer) for layer in layers if layer != "standardize"]
    return ".".join([*names, _LEAVES[collection, leaf]]), leaf


@functools.cache
def _template(model: Model) -> tuple[dict, dict]:
    """Params and buffers as arrays that have the right shapes and take no memory."""
    shapes = jax.eval_shape(lambda: init(model, jax.random.key(0)))
    return jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)


def _to_ours(kind: str, array: np.ndarray) -> np.ndarray:
    if kind == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if kind == "u":
        return array.reshape(-1)
    return array.reshape(()) if kind == "sigma" else array


def _to_theirs(kind: str, array: np.ndarray) -> np.ndarray:
    if kind == "kernel":
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return array.reshape(1, -1) if kind == "u" else array.reshape(1) if kind == "sigma" else array


def to_released(params: dict, buffers: dict) -> dict[str, np.ndarray]:
    """Converts parameters (or gradients) and buffers, dictionaries by part of some or all parts, to released tensors.

    Blocks that the encoder shares with the discriminator appear once, under "D.".
    """
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path((params, buffers)):
        name, kind = _identify(path)
        tensors[name] = np.asarray(_to_theirs(kind, np.asarray(leaf)))
    return tensors


def unused_tensors(model: Model) -> dict[str, np.ndarray]:
    """Makes what the authors' classes save and never compute with: P.phi_c and, without projection, D.embed."""
    clusters, head = model.prior.num_components, model.discriminator
    tensors = {"P.phi_c": np.full(clusters, 1 / clusters, np.float32)}
    if not head.projection:
        features = ARCHITECTURES[head.resolution].discriminator[-1].width * head.channels
        tensors["D.embed.weight"] = np.asarray(0.02 * np.eye(clusters, features), np.float32)
        tensors["D.embed.u0"], tensors["D.embed.sv0"] = np.ones((1, clusters), np.float32), np.ones(1, np.float32)
    return tensors


def to_complete_released(
    model: Model, params: dict, buffers: dict, unused: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Converts all parts to every tensor that the authors' classes load strictly.

    Shared blocks appear under "D." and "E."; `unused` replaces some of `unused_tensors`.
    """
    tensors = to_released(params, buffers)
    if model.share_blocks:
        trunk = tuple(f"D.blocks.{block}." for block in range(_BLOCKS["discriminator"][1]))
        tensors |= {"E" + name[1:]: tensors[name] for name in tensors if name.startswith(trunk)}
    return tensors | unused_tensors(model) | dict(unused or {})


def released_shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Lists the shapes of all tensors that the authors' classes save."""
    return {name: array.shape for name, array in to_complete_released(model, *_template(model)).items()}


def _find_likely_fields(model: Model, found: dict[str, tuple[int, ...]]) -> list[str]:
    """The fields of the configuration that shapes by name contradict."""
    expected = released_shapes(model)
    misnamed = expected.keys() ^ found.keys()

    def differs(name: str, axes: slice = slice(None)) -> bool:
        return name in found and name in expected and found[name][axes] != expected[name][axes]

    signs = {
        "data.resolution": any(re.fullmatch(r"G\.blocks\.\d\.0\.conv1\.weight", name) for name in misnamed),
        "model.channels": differs("D.linear.weight"),
        "model.num_clusters": differs("P.mu_c", slice(0, 1)),
        "model.latent_dim": differs("P.mu_c", slice(1, None)),
    }
    differs_in_kind = not any(signs.values()) and differs("G.blocks.0.0.bn1.gain.weight")
    signs["model.conditioning"] = differs_in_kind or "G.shared.weight" in misnamed
    signs["training.conditional"] = "D.embed.weight" in misnamed and model.discriminator.projection
    signs["model.share_blocks"] = not model.share_blocks and not any(name.startswith("E.blocks.") for name in found)
    return [f"config.{field}" for field, likely in signs.items() if likely]


def _check_names_and_shapes(model: Model, tensors: Mapping[str, np.ndarray]) -> None:
    """What computes nothing in the model may be missing."""
    shapes, needed = released_shapes(model), set(to_released(*_template(model)))
    found = {name: np.shape(array) for name, array in tensors.items()}
    if any(name.startswith("G_ema.") for name in found):
        shapes |= {"G_ema" + name[1:]: shape for name, shape in shapes.items() if name.startswith("G.")}
        needed |= {name for name in shapes if name.startswith("G_ema.")}
    problems = [f"{name} {shape} is missing" for name, shape in shapes.items() if name in needed - found.keys()]
    for name, shape in found.items():
        if name not in shapes:
            problems.append(f"{name} {shape} does not belong there")
        elif shape != shapes[name]:
            problems.append(f"{name} is {shape}; expected {shapes[name]}")
    if problems:
        more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        fields = _find_likely_fields(model, found)
        hint = f" The weights were probably made with another {' and '.join(fields)}." if fields else ""
        raise WeightsError(f"The weights do not fit the model: {'; '.join(problems[:_SHOWN])}{more}.{hint}")


def from_released(model: Model, tensors: Mapping[str, np.ndarray]) -> tuple[dict, dict]:
    """Converts released tensors to params and buffers by part, in the dtype of the tensors; "G_ema." is passed over.

    Raises:
      WeightsError: with the first tensors that are missing, superfluous or of another shape, and the likely fields.
    """
    _check_names_and_shapes(model, tensors)

    def convert(path: tuple, _: np.ndarray) -> jax.Array:
        name, kind = _identify(path)
        return jnp.asarray(_to_ours(kind, np.asarray(tensors[name])))

    return jax.tree_util.tree_map_with_path(convert, _template(model))
