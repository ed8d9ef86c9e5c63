"""The paper's sheets of images from a trained run.

python -m reproduce.figures figure2 --workdir RUN --out figure2.png [--rows=8] [--columns=10]
python -m reproduce.figures figure3 --workdir RUN --out figure3.png [--data_dir=DIR]

Figure 2 (also 7, 9): generated images, every two columns another value of y. Figure 3 (also 8, 10): real images in odd
columns and their reconstructions beside them, pairs sorted by label. Figures 11 and 12 have a row where figure 2 has
two columns: `clusters.png` of a run.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image

from mpcc_jax import TrainedModel, load
from mpcc_jax.data import load_dataset
from mpcc_jax.errors import InputError, MPCCError
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.workdir import prepare_workdir

SIDE = 64  # pixels of the file that an image is enlarged to at least
GAP = 4

Sheet = UInt8[np.ndarray, "rows columns H W C"]


def choose_evenly(count: int, most: int) -> Int[np.ndarray, " n"]:
    """Chooses at most so many indices in [0, count), spread evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def draw_generated(
    trained: TrainedModel, key: int = 0, num_rows: int = 8, num_values: int = 10
) -> tuple[Sheet, Int[np.ndarray, " n"]]:
    """Draws figure 2: z from p(z given y), decoded; two columns for each value of y, and those values."""
    values = choose_evenly(trained.num_clusters, num_values)
    y = np.tile(np.repeat(values, 2), num_rows)
    images = to_uint8(trained.generate(key, len(y), cluster=y))
    return images.reshape(num_rows, 2 * len(values), *trained.image_shape), values


def draw_reconstructions(
    trained: TrainedModel,
    images: UInt8[np.ndarray, "N H W C"],
    labels: Int[np.ndarray, " N"] | None = None,
    seed: int = 0,
    num_rows: int = 8,
    num_pairs: int = 10,
) -> tuple[Sheet, Int[np.ndarray, " n"] | None]:
    """Draws figure 3: pairs of columns, a real image and G(E(x)) beside it, a pair for each class, and the classes."""
    rng, classes = np.random.default_rng(seed), None
    if labels is None:
        columns = np.resize(rng.permutation(len(images)), (num_pairs, num_rows))
    else:
        classes = np.unique(labels)
        classes = classes[choose_evenly(len(classes), num_pairs)]
        # A class of fewer images than there are rows repeats them.
        members = [rng.permutation(np.flatnonzero(labels == label)) for label in classes]
        columns = np.stack([np.resize(indices, num_rows) for indices in members])
    originals = images[columns.T.ravel()]
    pairs = np.stack([originals, to_uint8(trained.reconstruct(originals))], axis=1)
    return pairs.reshape(num_rows, 2 * len(columns), *images.shape[1:]), classes


def save_sheet(path: Path, sheet: Sheet) -> None:
    """Writes a sheet as PNG, each pixel enlarged to a square, with white gaps between the images."""
    rows, columns, height, _, channels = sheet.shape
    factor = -(-SIDE // height)
    images = sheet.repeat(factor, axis=2).repeat(factor, axis=3)
    images = np.pad(images, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    grid = images.transpose(0, 2, 1, 3, 4).reshape(rows * images.shape[2], columns * images.shape[3], channels)
    grid = grid[:-GAP, :-GAP]
    Image.fromarray(grid[..., 0] if channels == 1 else grid).save(path)


def draw_figure(given: argparse.Namespace) -> str:
    """Writes the figure that the command line asks for, and says what is where."""
    for name in ("rows", "columns"):
        if getattr(given, name) < 1:
            raise InputError(f"--{name} is {getattr(given, name)}; allowed: 1 or more.")
    if given.out.suffix != ".png":
        raise InputError(f"--out is {str(given.out)!r}; allowed: a name that ends in .png.")
    trained = load(given.workdir, iteration=given.checkpoint, seed=given.seed)
    if given.figure == "figure2":
        sheet, names = draw_generated(trained, given.key, given.rows, given.columns)
        order = "y from left to right, two columns each"
    else:
        config = trained.config.copy_and_resolve_references()
        config.data.dir = given.data_dir or config.data.dir
        dataset = load_dataset(config)
        sheet, names = draw_reconstructions(
            trained, dataset.images, dataset.labels, given.key, given.rows, given.columns
        )
        order = "real images in odd columns, classes from left to right"
        if names is None:
            names = ["no labels"]
        elif dataset.class_names:
            names = [dataset.class_names[label] for label in names]
    prepare_workdir(given.out.parent)
    save_sheet(given.out, sheet)
    return f"{given.out}: {order}: {', '.join(map(str, names))}"


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; mistakes of the user end in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("figure", choices=("figure2", "figure3"))
    parser.add_argument("--workdir", required=True, help="of the run")
    parser.add_argument("--out", required=True, type=Path, help="the PNG")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--columns", type=int, default=10, help="values of y, or pairs of columns: at most so many")
    parser.add_argument("--key", type=int, default=0, help="seed of the draws")
    parser.add_argument("--seed", type=int, help="which seed of a run of several")
    parser.add_argument("--checkpoint", type=int, help="iteration of the checkpoint; the newest otherwise")
    parser.add_argument("--data_dir", help="figure3: where TFDS data is, if not where it was")
    given = parser.parse_args(arguments)
    given.out = given.out.expanduser()
    try:
        print(draw_figure(given))
    except MPCCError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
