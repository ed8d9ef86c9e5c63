"""The pictures of a run, drawn from the trained networks."""

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax import report
from mpcc_jax.data.loader import to_float
from mpcc_jax.prior import draw_latents
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.state import split_seed


def draw_pictures(config, algorithm, state, sample, clusters, class_names, seed, workdir):
    """Writes the cluster sheet and the reconstructions.

    Args:
      config: the configuration.
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      sample: `Examples`, real images to describe and reconstruct.
      clusters: of the sample.
      class_names: one per class, or None.
      seed: of the run.
      workdir: `pathlib.Path`.
    """
    settings = config.evaluation
    trained = TrainedModel(config, algorithm.model, state, seed=seed, batch_size=settings.batch_size)
    num_clusters, count = trained.num_clusters, settings.samples_per_cluster
    _, key = jax.random.split(split_seed(seed).evaluation)
    y = jnp.repeat(jnp.arange(num_clusters), count)
    z = trained.prior.sample(y, draw_latents(key, y.shape, algorithm.model.prior).eps)
    sheet = trained.decode(z, y).reshape(num_clusters, count, *trained.image_shape)
    descriptions = report.describe_clusters(clusters, num_clusters, sample.labels, class_names)
    report.save_cluster_sheet(workdir / "clusters.png", sheet, descriptions)

    pairs = max(count // 2, 1)
    occupied = [cluster for cluster in range(num_clusters) if (clusters == cluster).any()]
    # A cluster of fewer images than a row has places repeats them.
    chosen = np.concatenate([np.resize(np.flatnonzero(clusters == cluster), pairs) for cluster in occupied])
    originals = sample.images[chosen]
    shape = (len(occupied), pairs, *trained.image_shape)
    report.save_reconstructions(
        workdir / "reconstructions.png",
        np.asarray(to_float(originals)).reshape(shape),
        trained.reconstruct(originals).reshape(shape),
        [f"cluster {cluster}" for cluster in occupied],
    )
