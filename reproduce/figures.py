"""The paper's sheets of images from a trained run.

python -m reproduce.figures figure2 --workdir RUN --out figure2.png [--rows=8] [--columns=10]
python -m reproduce.figures figure3 --workdir RUN --out figure3.png [--data_dir=DIR]

Figure 2 (also 7, 9): generated images, every two columns another value of y. Figure 3 (also 8, 10): real images in odd
columns and their reconstructions beside them, pairs sorted by label. Figures 11 and 12 have a row where figure 2 has
two columns: `clusters.png` of a run.
"""

import argparse
import pathlib
import sys

import numpy as np

from mpcc_jax.cli.commands import open_run
from mpcc_jax.cli.outputs import check_output
from mpcc_jax.console import Display
from mpcc_jax.errors import CheckpointError, ConfigError, DataError, InputError, WorkdirError
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.report.images import save_strip
from mpcc_jax.trained_model import load
from reproduce.errors import ReproduceError

SIDE = 64  # pixels of the file that an image is enlarged to at least


def choose_evenly(count, most):
    """Some of many, spread evenly.

    Args:
      count: of what there is.
      most: at most so many are chosen.

    Returns:
      Sorted indices in [0, count).
    """
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def draw_generated(trained, key=0, num_rows=8, num_values=10):
    """Images of figure 2: z drawn from p(z given y), decoded.

    Args:
      trained: the `TrainedModel`.
      key: PRNG key or seed.
      num_rows: of the figure.
      num_values: at most so many values of y, two columns each; of more clusters, an even choice.

    Returns:
      uint8, [rows, 2 * values, H, W, C], and the values of y from left to right.
    """
    values = choose_evenly(trained.num_clusters, num_values)
    y = np.tile(np.repeat(values, 2), num_rows)
    images = to_uint8(trained.generate(key, len(y), cluster=y))
    return images.reshape(num_rows, 2 * len(values), *trained.image_shape), values


def draw_reconstructions(trained, images, labels=None, seed=0, num_rows=8, num_pairs=10):
    """Images of figure 3: a real one and its reconstruction G(E(x)) beside it.

    Args:
      trained: the `TrainedModel`.
      images: uint8, [N, H, W, C].
      labels: integers, [N], which pairs of columns are sorted by; None leaves them as drawn.
      seed: of the choice of images.
      num_rows: of the figure.
      num_pairs: at most so many pairs of columns; of more classes, an even choice.

    Returns:
      uint8, [rows, 2 * pairs, H, W, C], and the classes from left to right, or None.
    """
    rng, classes = np.random.default_rng(seed), None
    if labels is None:
        columns = np.resize(rng.permutation(len(images)), (num_pairs, num_rows))
    else:
        classes = np.unique(labels)
        classes = classes[choose_evenly(len(classes), num_pairs)]
        # A class of fewer images than there are rows repeats them.
        columns = np.stack([np.resize(rng.permutation(np.flatnonzero(labels == one)), num_rows) for one in classes])
    originals = images[columns.T.ravel()]
    pairs = np.stack([originals, to_uint8(trained.reconstruct(originals))], axis=1)
    return pairs.reshape(num_rows, 2 * len(columns), *images.shape[1:]), classes


def save_sheet(path, sheet):
    """Writes a figure as PNG.

    Args:
      path: of the file.
      sheet: uint8, [rows, columns, H, W, C].
    """
    save_strip(path, sheet.reshape(-1, *sheet.shape[2:]), sheet.shape[1], side=SIDE)


def figure2(workdir, out, key=0, num_rows=8, num_columns=10, report=print, **options):
    """Writes figure 2 of a run: generated images, every two columns another value of y.

    Args:
      workdir: of the run.
      out: path of the PNG.
      key: PRNG key or seed of the draws.
      num_rows: of the figure.
      num_columns: at most so many values of y.
      report: called with a line that says what is where.
      **options: of `mpcc_jax.trained_model.load`.
    """
    trained = load(workdir, report=report, **options)
    sheet, values = draw_generated(trained, key, num_rows, num_columns)
    save_sheet(out, sheet)
    report(f"{out}: y from left to right, two columns each: {', '.join(map(str, values))}")


def figure3(workdir, out, key=0, num_rows=8, num_columns=10, data_dir=None, report=print, **options):
    """Writes figure 3 of a run: real images in odd columns, their reconstructions in even ones.

    Args:
      workdir: of the run.
      out: path of the PNG.
      key: seed of the choice of images.
      num_rows: of the figure.
      num_columns: at most so many pairs of columns.
      data_dir: where its data is now, if not where it was.
      report: called with a line that says what is where.
      **options: of `mpcc_jax.trained_model.load`.
    """
    trained, dataset, _, _ = open_run(workdir, Display(), data_dir, **options)
    sheet, classes = draw_reconstructions(trained, dataset.images, dataset.labels, key, num_rows, num_columns)
    save_sheet(out, sheet)
    names = [] if classes is None else [dataset.class_names[one] if dataset.class_names else one for one in classes]
    order = f", classes from left to right: {', '.join(map(str, names))}" if names else ""
    report(f"{out}: real images in odd columns{order}")


def main(arguments=None):
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=("figure2", "figure3"))
    parser.add_argument("--workdir", required=True, help="of the run")
    parser.add_argument("--out", required=True, help="the PNG")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=10, help="values of y, or pairs of columns: at most so many")
    parser.add_argument("--key", type=int, default=0, help="seed of the draws")
    parser.add_argument("--seed", type=int, help="which seed of a run of several")
    parser.add_argument("--checkpoint", type=int, help="iteration of the checkpoint; the newest otherwise")
    parser.add_argument("--data_dir", help="figure3: where TFDS data is, if not where it was")
    given = parser.parse_args(arguments)
    try:
        for name in ("rows", "columns"):
            if getattr(given, name) < 1:
                raise ReproduceError(f"--{name} is {getattr(given, name)}; allowed: 1 or more.")
        if pathlib.Path(given.out).suffix != ".png":
            raise ReproduceError(f"--out is {given.out!r}; allowed: a name that ends in .png.")
        out, model = check_output(given.out), {"seed": given.seed, "iteration": given.checkpoint}
        if given.figure == "figure2":
            figure2(given.workdir, out, given.key, given.rows, given.columns, **model)
        else:
            figure3(given.workdir, out, given.key, given.rows, given.columns, given.data_dir, **model)
    except (CheckpointError, ConfigError, DataError, InputError, ReproduceError, WorkdirError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
