"""The pictures of a run, drawn from the trained networks."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax import report
from mpcc_jax.data.sampler import to_float
from mpcc_jax.evaluation.networks import generate_images, generator_buffers, reconstruct_images
from mpcc_jax.training.noise import draw_latents


def draw_pictures(config, algorithm, state, sample, clusters, class_names, key, workdir):
    """Writes the cluster sheet and the reconstructions, by the EMA generator.

    Args:
      config: the configuration.
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      sample: `Examples`, real images to describe and reconstruct.
      clusters: of the sample.
      class_names: one per class, or None.
      key: PRNG key.
      workdir: `pathlib.Path`.
    """
    model, settings = algorithm.model, config.evaluation
    num_clusters, count = model.prior.num_components, settings.samples_per_cluster
    statistics_key, latents_key = jax.random.split(key)
    passes = (settings.standing_passes, config.training.batch_size)
    buffers = generator_buffers(model, state, settings.statistics, statistics_key, *passes)
    by_batch = settings.statistics == "batch"
    options = {"batch_size": passes[1] if by_batch else settings.batch_size, "batch_statistics": by_batch}
    y = jnp.repeat(jnp.arange(num_clusters), count)
    eps = draw_latents(latents_key, y.shape, model.prior).eps
    z = model.prior.sampling(state.params["prior"]).sample(y, eps)
    sheet = generate_images(model, state, buffers, z, y, **options).reshape(num_clusters, count, *model.image_shape)
    descriptions = report.describe_clusters(clusters, num_clusters, sample.labels, class_names)
    report.save_cluster_sheet(workdir / "clusters.png", sheet, descriptions)

    pairs = max(count // 2, 1)
    occupied = [cluster for cluster in range(num_clusters) if (clusters == cluster).any()]
    # A cluster of fewer images than a row has places repeats them.
    chosen = np.concatenate([np.resize(np.flatnonzero(clusters == cluster), pairs) for cluster in occupied])
    originals = sample.images[chosen]
    decoded = reconstruct_images(model, state, buffers, originals, settings.batch_size, **options)
    shape = (len(occupied), pairs, *model.image_shape)
    report.save_reconstructions(
        workdir / "reconstructions.png",
        np.asarray(to_float(originals)).reshape(shape),
        decoded.reshape(shape),
        [f"cluster {cluster}" for cluster in occupied],
    )
