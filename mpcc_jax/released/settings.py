"""What the shapes of the authors' weights, and two of their values, say about the model."""

import statistics

import numpy as np

from mpcc_jax.errors import ConfigError, WeightsError
from mpcc_jax.networks.architecture import ARCHITECTURES, BOTTOM_SIZE

_BLOCKS = {len(plan.generator): resolution for resolution, plan in ARCHITECTURES.items()}
_LATENT = (("P.mu_c", 1), ("P.lv_c", 1), ("E.linear_mu2.weight", 0))
_IMAGE = (("G.output_layer.2.weight", 0), ("G.output_layer.2.bias", 0), ("D.blocks.0.0.conv1.weight", 1))
_MNIST_LIKE = {"conditional": "mnist", "shared": "fashion_mnist"}
_CIFAR_LIKE = {10: "cifar10", 20: "cifar20"}


def _told(weights, field, *sources):
    """The number that most of several axes tell, so that one damaged tensor is found by the others."""
    shapes = [(weights.tensors[name].shape, axis, unit) for name, axis, unit in sources if name in weights.tensors]
    sizes = [(shape[axis], unit) for shape, axis, unit in shapes if axis < len(shape)]
    values = [size // unit for size, unit in sizes if size and size % unit == 0]
    if not values:
        names = ", ".join(name for name, _, _ in sources)
        raise WeightsError(
            f"{field} is told from the shapes of {names}; none of them is there and possible (in "
            f"{weights.files[sources[0][0][0]]})."
        )
    return statistics.mode(values)


def _shares_blocks(tensors):
    """Whether E.blocks are D.blocks; a file without E.blocks says so too."""
    own = [name for name in tensors if name.startswith("E.blocks.")]
    return all(np.array_equal(tensors[name], tensors.get("D" + name[1:])) for name in own)


def _projects(tensors):
    """Whether D.embed, which is always stored, has been in use: training passes move sv0 away from its initial 1."""
    return "D.embed.sv0" in tensors and bool(np.any(tensors["D.embed.sv0"] != 1))


def infer_settings(weights, conditional=None):
    """What shapes and values say about the model.

    Args:
      weights: `ReleasedWeights`.
      conditional: whether D projects on y (table 3 b); None tells it from the spectral norm of D.embed.

    Returns:
      Values by the field of the configuration that they belong to, and the number of image channels.

    Raises:
      WeightsError: if the tensors that a field is told from are missing or have impossible shapes.
    """
    blocks = {name.split(".")[2] for name in weights.tensors if name.startswith("G.blocks.")}
    if len(blocks) not in _BLOCKS:
        raise WeightsError(
            f"{weights.files['G']} has {len(blocks)} blocks; allowed: {min(_BLOCKS)} (images of 8x8) to {max(_BLOCKS)} "
            "(128x128), 3 for the released 32x32."
        )
    plan = ARCHITECTURES[_BLOCKS[len(blocks)]]
    units, width = BOTTOM_SIZE**2 * plan.input_width, plan.generator[-1].width
    head, last = ("D.linear.weight", 1, plan.discriminator[-1].width), ("G.output_layer.2.weight", 1, width)
    channels = _told(weights, "C", ("G.linear.weight", 0, units), ("G.linear.bias", 0, units), last, head)
    clusters = _told(weights, "K", *((name, 0, 1) for name in ("P.mu_c", "P.lv_c", "P.phi_c")))
    latent_dim = _told(weights, "J", *((name, axis, 1) for name, axis in _LATENT))
    image_channels = _told(weights, "the number of image channels", *((name, axis, 1) for name, axis in _IMAGE))
    if image_channels not in (1, 3):
        raise WeightsError(
            f"these weights make images of {image_channels} channels; allowed: 1 or 3 (in {weights.files['G']})."
        )
    conditioning = "conditional"
    if sum(name == "G.shared.weight" or name.endswith((".gain.u0", ".bias.u0")) for name in weights.tensors) > 1:
        layers = ((f"G.blocks.0.0.{layer}.weight", 1, 1) for layer in ("bn1.gain", "bn1.bias", "bn2.gain", "bn2.bias"))
        conditioning = "shared" if _told(weights, "the way of z", *layers) == 2 * latent_dim else "split"
    settings = {
        "variant": "released",
        "data.resolution": _BLOCKS[len(blocks)],
        "model.channels": channels,
        "model.latent_dim": latent_dim,
        "model.num_clusters": clusters,
        "model.conditioning": conditioning,
        "model.share_blocks": _shares_blocks(weights.tensors),
        "prior.kind": "gaussian_mixture",
        "training.conditional": _projects(weights.tensors) if conditional is None else conditional,
    }
    return settings, image_channels


def guess_data(conditioning, num_clusters, image_channels):
    """The data set of the paper that a network of this kind was made for (appendix C).

    Args:
      conditioning: "split", "shared" or "conditional".
      num_clusters: K.
      image_channels: 1 or 3.

    Returns:
      Name of a data set.

    Raises:
      ConfigError: if it is none of them.
    """
    if image_channels == 1:
        name = "omniglot100" if num_clusters == 100 else _MNIST_LIKE.get(conditioning)
    else:
        name = _CIFAR_LIKE.get(num_clusters)
    if name is None:
        raise ConfigError(
            f"which images these weights are for cannot be told from {image_channels} image channels, K = "
            f"{num_clusters} and {conditioning!r}; say it by --data_name, such as mnist or folder:PATH."
        )
    return name
