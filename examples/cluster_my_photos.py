"""Clusters a folder of photos: python -m examples.cluster_my_photos PHOTOS [CLUSTERS] [ITERATIONS].

Trains on PHOTOS (which is not changed), and puts copies, sorted by cluster, and a report into runs/my_photos. A few
thousand photos and some hours on a GPU are what such a model needs; the defaults are for a first look.
"""

import sys

from configs import folder
from mpcc_jax import load
from mpcc_jax.cli import commands
from mpcc_jax.training.train import train


def main(photos, clusters=10, iterations=20_000, workdir="runs/my_photos"):
    """Args: PHOTOS, a folder; how many clusters; how many iterations; where everything goes."""
    config = folder.get_config()
    config.data.name = f"folder:{photos}"
    config.data.labels = False
    config.model.num_clusters = int(clusters)
    config.training.iterations = int(iterations)
    train(config, workdir)

    model = load(workdir)
    print("three new pictures of cluster 0:", model.generate(key=0, n=3, cluster=0).shape)
    commands.predict(workdir, photos, copy_to=f"{workdir}/sorted")
    commands.report(workdir)


if __name__ == "__main__":
    main(*sys.argv[1:])
