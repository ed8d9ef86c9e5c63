"""Names and layouts of the authors' PyTorch weights, both ways.

The mapping starts from our own tree: for every leaf there is one released name and one change of layout, so the same
code reads and writes all three generators, the projection discriminator, and encoders with and without a trunk of
their own. A state dict is a flat dictionary of NumPy arrays with the prefixes "G.", "D.", "E." and "P.".
"""

import functools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.errors import WeightsError
from mpcc_jax.model import init
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


def released_name(part, collection, path):
    """The released name of one leaf.

    Args:
      part: "generator", "trunk", "discriminator", "encoder", "encoder_trunk" or "prior".
      collection: "params", "batch_stats" or "spectral".
      path: keys from the part to the leaf.

    Returns:
      The name, for example "G.blocks.0.0.conv1.weight".
    """
    if part == "prior":
        return _PRIOR[path[0]]
    *layers, leaf = path
    names = [_PREFIXES[part]]
    if layers[0].startswith("block"):
        blocks, first = _BLOCKS[part]
        names = [f"{blocks}.{first + int(layers.pop(0).removeprefix('block'))}.0"]
    names += [_LAYERS.get(layer, layer) for layer in layers if layer != "standardize"]
    return ".".join([*names, _LEAVES[collection, leaf]])


@functools.cache
def _template(model):
    """Shapes of params and buffers."""
    return jax.eval_shape(lambda: init(model, jax.random.key(0)))


def _leaves(params, buffers):
    """(released name, kind of leaf, where it stands) for every leaf of our trees."""
    trees = [(part, "params", tree) for part, tree in params.items()]
    trees += [(part, name, tree) for part, collections in buffers.items() for name, tree in collections.items()]
    for part, collection, tree in trees:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            keys = tuple(key.key for key in path)
            yield released_name(part, collection, keys), keys[-1], (part, collection, keys), leaf


def _to_ours(kind, array):
    if kind == "kernel":
        return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T
    if kind == "u":
        return array.reshape(-1)
    return array.reshape(()) if kind == "sigma" else array


def _to_theirs(kind, array):
    if kind == "kernel":
        return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
    return array.reshape(1, -1) if kind == "u" else array.reshape(1) if kind == "sigma" else array


def _known_extra(name, model):
    """Tensors of the released classes that compute nothing here."""
    if name == "P.phi_c":
        return True
    if name.startswith("D.embed.") and not model.discriminator.projection:
        return True
    return model.share_blocks and name.startswith("E.blocks.")


def unused_tensors(model):
    """What the authors' classes save besides, and never compute with.

    Args:
      model: the `Model`.

    Returns:
      float32 arrays by released name: P.phi_c, uniform; without a projection D.embed, as it is before any pass: sv0 is
      1, and the size of the weights that of their initial ones.
    """
    clusters = model.prior.num_components
    tensors = {"P.phi_c": np.full(clusters, 1 / clusters, np.float32)}
    if not model.discriminator.projection:
        head = model.discriminator
        features = ARCHITECTURES[head.resolution].discriminator[-1].width * head.channels
        tensors["D.embed.weight"] = np.asarray(0.02 * np.eye(clusters, features), np.float32)
        tensors["D.embed.u0"], tensors["D.embed.sv0"] = np.ones((1, clusters), np.float32), np.ones(1, np.float32)
    return tensors


def _with_shared(model, tensors):
    """The released encoder lists the blocks that it shares under its own name too."""
    trunk = tuple(f"D.blocks.{block}." for block in range(_BLOCKS["discriminator"][1] if model.share_blocks else 0))
    return tensors | {"E" + name[1:]: tensors[name] for name in tensors if name.startswith(trunk)}


def released_shapes(model):
    """Every tensor that the authors' classes save.

    Args:
      model: the `Model`.

    Returns:
      Shapes by released name, with the prefixes "G.", "D.", "E." and "P.".
    """
    template = _template(model)
    tensors = {name: _to_theirs(kind, np.broadcast_to(0.0, leaf.shape)) for name, kind, _, leaf in _leaves(*template)}
    return {name: array.shape for name, array in {**_with_shared(model, tensors), **unused_tensors(model)}.items()}


def to_complete_released(model, params, buffers, unused=None):
    """Writes parameters and buffers under every name that the authors' classes load strictly.

    Args:
      model: the `Model`.
      params, buffers: dictionaries by part.
      unused: arrays for some of the names of `unused_tensors`, from where the weights came from.

    Returns:
      NumPy arrays by released name; shared blocks appear under "D." and "E.".
    """
    rest = {name: (unused or {}).get(name, array) for name, array in unused_tensors(model).items()}
    return {**_with_shared(model, to_released(params, buffers)), **rest}


def from_released(model, tensors: Mapping[str, np.ndarray]):
    """Reads a released state dict into our parameters and buffers.

    Args:
      model: the `Model` that the weights belong to.
      tensors: arrays by released name, with the prefixes "G.", "D.", "E." and "P.".

    Returns:
      params and buffers, dictionaries by part, in the dtype of the tensors.

    Raises:
      WeightsError: if tensors are missing, of the wrong shape, or belong nowhere.
    """
    template = _template(model)
    params, buffers = jax.tree.map(lambda leaf: None, template, is_leaf=lambda leaf: hasattr(leaf, "shape"))
    missing, misshapen, used = [], [], set()
    for name, kind, (part, collection, keys), leaf in _leaves(*template):
        if name not in tensors:
            missing.append(name)
            continue
        used.add(name)
        array = _to_ours(kind, np.asarray(tensors[name]))
        if array.shape != leaf.shape:
            misshapen.append(
                f"{name} is {tensors[name].shape}, expected {_to_theirs(kind, np.zeros(leaf.shape)).shape}"
            )
            continue
        tree = params[part] if collection == "params" else buffers[part][collection]
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = jnp.asarray(array)
    extra = [name for name in tensors if name not in used and not _known_extra(name, model)]
    problems = [
        f"{label}: {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}"
        for label, names in (("missing", missing), ("wrong shape", misshapen), ("not part of this model", extra))
        if names
    ]
    if problems:
        raise WeightsError("The released weights do not fit the model. " + "; ".join(problems) + ".")
    return params, buffers


def to_released(params, buffers):
    """Writes parameters (or anything of their shape, such as gradients) and buffers under the released names.

    Args:
      params, buffers: dictionaries by part; parts may be left out.

    Returns:
      NumPy arrays by released name. Blocks that discriminator and encoder share appear once, under "D.".
    """
    return {name: np.asarray(_to_theirs(kind, np.asarray(leaf))) for name, kind, _, leaf in _leaves(params, buffers)}
