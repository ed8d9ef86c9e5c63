"""The trained networks as they are evaluated: encoder to clusters, EMA generator to images."""

import functools

import jax
import numpy as np

from mpcc_jax.data.sampler import to_float
from mpcc_jax.losses import log_membership
from mpcc_jax.model import encode, generate
from mpcc_jax.training.noise import draw_latents


def _in_batches(program, batch_size, *arrays):
    """Results of a program on all rows, as NumPy arrays; the last batch is padded, so it compiles once."""
    count, outputs = len(arrays[0]), []
    for start in range(0, count, batch_size):
        batch = [np.asarray(array[start : start + batch_size]) for array in arrays]
        missing = batch_size - len(batch[0])
        padded = [np.concatenate([part, np.zeros((missing, *part.shape[1:]), part.dtype)]) for part in batch]
        results = jax.tree.leaves(program(*padded))
        outputs.append([np.asarray(result)[: batch_size - missing] for result in results])
    return tuple(np.concatenate(parts) for parts in zip(*outputs, strict=True))


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
    program = functools.partial(_compiled_encoder(model), state.params, state.buffers)
    return _in_batches(program, min(batch_size, len(images)), images)


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


@functools.cache
def _compiled_generator(model):
    def generator(params, buffers, z, y):
        images, _ = generate(model, {"generator": params}, {"generator": buffers}, z, y, train=False)
        return images

    return jax.jit(generator)


def generate_images(model, state, buffers, z, y, batch_size=100):
    """Images of latents by the EMA generator in evaluation mode.

    Args:
      model: the `Model`.
      state: the `TrainState`.
      buffers: of the generator, from `standing_statistics` (or `state.ema["buffers"]`).
      z: latents, [B, J].
      y: components, integers, [B].
      batch_size: images per call; the last call is padded, so one program serves all.

    Returns:
      NumPy array in [-1, 1], [B, H, W, C].
    """
    program = functools.partial(_compiled_generator(model), state.ema["params"], buffers)
    return _in_batches(program, batch_size, np.asarray(z), np.asarray(y))[0]


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
