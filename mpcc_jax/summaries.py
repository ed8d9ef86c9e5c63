"""What the commands print about a trained model when they are done."""

import math

import numpy as np

from mpcc_jax.console import SCORES, table

MORE_SCORES = {
    "ami": "adjusted mutual information",
    "prior_overlap": "overlap of the prior's closest components",
    "reconstruction_mse": "reconstruction MSE, pixels in [-1, 1]",
    "latent_mse": "latent MSE, summed over J",
    "generated_cluster_accuracy": "components of generated images found again",
}
SHOWN_SKIPPED = 5
SHOWN_CLUSTERS = 30


def _spread(value):
    return f"{value['mean']:.4g} ± {value['sd']:.2g}" if isinstance(value, dict) else f"{value:.4g}"


def show_evaluation(console, results, path):
    """Prints what `mpcc_jax.commands.evaluate` found.

    Args:
      console: a `rich.console.Console`.
      results: as written to evaluation.json.
      path: of that file.
    """
    data = " ".join(text for text in results["data"].values() if text)
    facts = {
        "model": f"iteration {results['iteration']}, seed {results['seed']}, variant {results['variant']}, "
        f"{results['generator']['statistics']} statistics",
        "data": f"{results['evaluated_images']} images of {data}",
    }
    for name, text in {**SCORES, **MORE_SCORES}.items():
        if results.get(name) is not None:
            facts[text] = f"{results[name]:.4f}"
    sizes = results["cluster_sizes"]
    facts["cluster entropy"] = f"{results['cluster_entropy']:.3f} nats of at most {math.log(len(sizes)):.3f}"
    facts["empty clusters"] = str(results["empty_clusters"])
    rows = results["majorities"] or [None] * len(sizes)
    lines = [
        f"{cluster}: {size}" + (f", {row[1]:.0%} {row[0]!r}" if row else "")
        for cluster, (size, row) in enumerate(zip(sizes, rows, strict=True))
    ]
    more = [f"and {len(lines) - SHOWN_CLUSTERS} more"] if len(lines) > SHOWN_CLUSTERS else []
    facts["clusters"] = "; ".join(lines[:SHOWN_CLUSTERS] + more)
    generation = results["generation"]
    if generation:
        titles = {"fid": "FID", "kid": "KID", "inception_score": "Inception Score"}
        facts |= {
            title: _spread(generation[name]) for name, title in titles.items() if generation.get(name) is not None
        }
    console.print(table("Evaluation", facts))
    show_written(console, path)


def show_written(console, path):
    """Prints where something is.

    Args:
      console: a `rich.console.Console`.
      path: of a file or folder.
    """
    console.print(f"written: {path}", markup=False, soft_wrap=True)


def _show_skipped(console, skipped):
    if skipped:
        names = ", ".join(name for name, _ in skipped[:SHOWN_SKIPPED])
        more = f" and {len(skipped) - SHOWN_SKIPPED} more" if len(skipped) > SHOWN_SKIPPED else ""
        console.print(f"left out, since they cannot be read: {names}{more}", markup=False, soft_wrap=True)


def show_prediction(console, clusters, num_clusters, skipped, path, copied_to):
    """Prints how many pictures every cluster got.

    Args:
      console: a `rich.console.Console`.
      clusters: integers, [N].
      num_clusters: K.
      skipped: (name, reason) of files that were left out.
      path: of the CSV file.
      copied_to: folder of the copies, or None.
    """
    sizes = np.bincount(clusters, minlength=num_clusters)
    console.print(f"{len(clusters)} images, by cluster: {', '.join(map(str, sizes))}", soft_wrap=True)
    _show_skipped(console, skipped)
    show_written(console, path)
    if copied_to is not None:
        show_written(console, copied_to)


def show_reconstruction(console, error, count, skipped, path):
    """Prints the error of reconstructions.

    Args:
      console: a `rich.console.Console`.
      error: mean squared, pixels in [-1, 1].
      count: of images.
      skipped: (name, reason) of files that were left out.
      path: of what was written.
    """
    console.print(f"{count} images reconstructed, mean squared error {error:.4f} (pixels in [-1, 1])", soft_wrap=True)
    _show_skipped(console, skipped)
    show_written(console, path)


def show_statistics(console, reference, path):
    """Prints what a reference is.

    Args:
      console: a `rich.console.Console`.
      reference: `ReferenceStatistics`.
      path: of the file.
    """
    facts = {name: text for name, text in reference.protocol.items() if text not in (None, "")}
    facts["images"] = reference.count
    if reference.inception_score is not None:
        facts["Inception Score"] = _spread(reference.inception_score._asdict())
    console.print(table("Reference statistics", facts))
    show_written(console, path)
