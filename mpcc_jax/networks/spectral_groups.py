"""Spectral norms of all layers of a network at once, layers of one shape as one batch.

A network has many small kernels of few shapes, and a power iteration for each of them is hundreds of small operations
per pass. This is meant for GPUs, where every operation is launched; on CPU it wins nothing.
"""

import collections
import functools

import flax
import jax
import jax.numpy as jnp

from mpcc_jax.networks.spectral import spectral_norm


def _matrix(layer):
    """The kernel of a layer's parameters as a matrix whose columns u belongs to."""
    kernel = layer["embedding"].T if "embedding" in layer else layer["kernel"]
    return kernel.reshape(-1, kernel.shape[-1])


def group_spectral_norms(params, spectral, num_iterations=1, epsilon=1e-8):
    """Spectral norms of a network's layers, and the vectors that the next pass starts from.

    Args:
      params: of the network.
      spectral: its collection "spectral": u and sigma of every normalised layer.
      num_iterations: power iterations per pass.
      epsilon: lower bound of the norms that vectors are divided by.

    Returns:
      A collection "sigmas" for the layers to divide by, and the new "spectral".
    """
    params = flax.traverse_util.flatten_dict(
        params, is_leaf=lambda _, layer: bool({"kernel", "embedding"} & set(layer))
    )
    vectors = flax.traverse_util.flatten_dict(spectral)
    groups = collections.defaultdict(list)
    for path in sorted({path[:-1] for path in vectors}):
        groups[_matrix(params[path]).shape].append(path)
    sigmas, advanced = {}, {}
    norm = jax.vmap(functools.partial(spectral_norm, num_iterations=num_iterations, epsilon=epsilon))
    for paths in groups.values():
        matrices, u = (
            jnp.stack(parts) for parts in zip(*((_matrix(params[p]), vectors[*p, "u"]) for p in paths), strict=True)
        )
        group_sigma, group_u = norm(matrices, u)
        for path, sigma, u in zip(paths, group_sigma, group_u, strict=True):
            sigmas[*path, "sigma"] = sigma
            advanced[*path, "u"], advanced[*path, "sigma"] = u, jax.lax.stop_gradient(sigma)
    return flax.traverse_util.unflatten_dict(sigmas), flax.traverse_util.unflatten_dict(advanced)
