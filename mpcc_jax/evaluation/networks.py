"""The trained networks as they are evaluated: encoder to clusters, EMA generator to images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax.data.sampler import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate
from mpcc_jax.training.noise import draw_latents


@functools.cache
def _compiled_encoder(model):
    def encoder(params, buffers, images):
        (mean, log_var), _ = encode(model, params, buffers, to_float(images), train=False)
        return mean, log_var, log_membership(mean, model.prior.membership(params["prior"]))

    return jax.jit(encoder)


def encode_images(model, state, images, batch_size=500):
    """Latents and memberships of real images, by the online encoder (no EMA, as released).

    Args:
      model: the `Model`.
      state: the `TrainState`.
      images: uint8, [N, H, W, C].
      batch_size: images per call; the last call is padded, so one program serves all.

    Returns:
      NumPy arrays: mean [N, J], log variance [N, J], log membership [N, K].
    """
    batch_size = min(batch_size, len(images))
    outputs = []
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        padded = np.concatenate([batch, np.zeros((batch_size - len(batch), *batch.shape[1:]), batch.dtype)])
        results = _compiled_encoder(model)(state.params, state.buffers, padded)
        outputs.append([np.asarray(result)[: len(batch)] for result in results])
    return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


def predict_clusters(model, state, images, batch_size=500):
    """The cluster of every image: argmax_k q(y = k given z) at the encoder's mean (Eq. 9).

    Args:
      model: the `Model`.
      state: the `TrainState`.
      images: uint8, [N, H, W, C].
      batch_size: images per call.

    Returns:
      Integers in [0, K), [N].
    """
    return encode_images(model, state, images, batch_size)[2].argmax(axis=-1)


def standing_statistics(model, state, key, num_passes=16, batch_size=50):
    """Batch-norm statistics of the EMA generator averaged over several passes (appendix C).

    Args:
      model: the `Model`.
      state: the `TrainState`.
      key: PRNG key for the latents.
      num_passes: 16 in the paper.
      batch_size: latents per pass.

    Returns:
      The generator's buffers with those statistics.
    """
    generator = model.generator.clone(standardize=functools.partial(model.generator.standardize, momentum=1.0))
    latents = draw_latents(key, (num_passes, batch_size), model.prior)
    mixture = model.prior.sampling(state.params["prior"])
    variables = {"params": state.ema["params"], **state.ema["buffers"]}

    def one_pass(_, latents):
        z = mixture.sample(*latents)
        _, advanced = generator.apply(variables, z, latents.y, True, mutable=["batch_stats", "spectral"])
        return None, advanced["batch_stats"]

    _, statistics = jax.jit(lambda latents: jax.lax.scan(one_pass, None, latents))(latents)
    return {**state.ema["buffers"], "batch_stats": jax.tree.map(lambda x: x.mean(axis=0), statistics)}


def generate_images(model, state, buffers, z, y, batch_size=500):
    """Images of latents by the EMA generator in evaluation mode.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      buffers: of the generator, from `standing_statistics` (or `state.ema["buffers"]`).
      z: latents, [B, J].
      y: components, integers, [B].
      batch_size: images per call.

    Returns:
      NumPy array in [-1, 1], [B, H, W, C].
    """
    params = {"generator": state.ema["params"]}
    parts = []
    for start in range(0, len(z), batch_size):
        part = slice(start, start + batch_size)
        latents = jnp.asarray(z[part]), jnp.asarray(y[part])
        parts.append(np.asarray(generate(model, params, {"generator": buffers}, *latents, train=False)[0]))
    return np.concatenate(parts)


def reconstruct_images(model, state, buffers, images, batch_size=500):
    """G(E(x)): decodes the encoder's mean, y being the likeliest component.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      buffers: of the generator.
      images: uint8, [N, H, W, C].
      batch_size: images per encoder call.

    Returns:
      NumPy array in [-1, 1], [N, H, W, C].
    """
    mean, _, membership = encode_images(model, state, images, batch_size)
    return generate_images(model, state, buffers, mean, membership.argmax(axis=-1))
