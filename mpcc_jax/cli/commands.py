"""What launch.py does with a trained model: evaluate, predict, generate, reconstruct, report; statistics for FID."""

import csv
import datetime
import json
import math
import pathlib

import numpy as np

from mpcc_jax.cli.outputs import check_output, copy_by_cluster, new_folder, open_output, write_images
from mpcc_jax.config import validate
from mpcc_jax.console import (
    Display,
    describe_machine,
    show_evaluation,
    show_prediction,
    show_reconstruction,
    show_statistics,
    show_written,
    versions,
)
from mpcc_jax.data import load_dataset
from mpcc_jax.data.folder import read_images
from mpcc_jax.data.loader import to_float
from mpcc_jax.errors import DataError
from mpcc_jax.evaluation.evaluate import assess, gather_findings, read_history
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.evaluation.generation import measure, measure_statistics, plan_measurement
from mpcc_jax.evaluation.scores import choose_sample
from mpcc_jax.report import write_page
from mpcc_jax.trained_model import load
from mpcc_jax.workdir import read_run, settings_of, write_json

RECONSTRUCTED = 64


def folder_of(trained, workdir):
    """Where the results of a model go: the run's directory, or that of its seed.

    Args:
      trained: the `TrainedModel`.
      workdir: of the run.

    Returns:
      `pathlib.Path`; made if missing.
    """
    folder = pathlib.Path(workdir).expanduser()
    folder = folder / f"seed_{trained.seed}" if trained.config.num_seeds > 1 else folder
    folder.mkdir(exist_ok=True)
    return folder


def open_run(workdir, display, data_dir=None, num_images=0, **options):
    """A trained model, and what it is looked at on.

    Args:
      workdir: of the run.
      display: a `Display`.
      data_dir: where its data is now, if not where it was.
      num_images: how many real images; 0 is all.
      **options: of `mpcc_jax.trained_model.load`.

    Returns:
      The `TrainedModel`, the `Dataset`, indices of the images to look at, and the folder for results.
    """
    trained = load(workdir, warn=display.warn, **options)
    config = trained.config.copy_and_resolve_references()
    if data_dir:
        config.data.dir = data_dir
    with display.reading() as progress:
        dataset = load_dataset(config, progress)
    _check_same_data(read_run(workdir)[1], dataset.facts(), display)
    chosen = choose_sample(len(dataset.images), math.inf, num_images)
    return trained, dataset, chosen, folder_of(trained, workdir)


def _check_same_data(before, now, display):
    """A run that was given arrays, or whose folder has changed, must not be scored on something else unnoticed."""
    told = ("name", "version", "split", "shape", "count", "range")
    differing = [name for name in told if before[name] not in (None, now[name])]  # of imported weights little is known
    text = "; ".join(f"{name} was {before[name]!r} and is {now[name]!r}" for name in differing)
    if {"name", "shape"} & set(differing):
        raise DataError(
            f"this is not the data that the run was trained on: {text}. Data that was given as arrays is scored from "
            "Python: mpcc_jax.evaluation.evaluate.assess(mpcc_jax.load(workdir), dataset)."
        )
    if differing:
        display.warn(f"the data has changed since the run was trained: {text}.")


def describe(trained):
    """What a figure has to be read with.

    Args:
      trained: the `TrainedModel`.

    Returns:
      A dictionary that JSON can hold.
    """
    return {
        "iteration": trained.iteration,
        "seed": trained.seed,
        "variant": trained.config.variant,
        "generator": {"weights": "moving average", "statistics": trained.statistics},
        "encoder": {"weights": "online"},
        "date": datetime.date.today().isoformat(),
        "machine": describe_machine(),
        "versions": versions(),
    }


def evaluate(workdir, display=None, generation=None, **options):
    """Scores a trained model on its data, and writes evaluation.json.

    Args:
      workdir: of the run.
      display: a `Display`; None makes one.
      generation: options of `mpcc_jax.evaluation.generation.plan_measurement`.
      **options: of `open_run`.

    Returns:
      What is written.
    """
    display = display or Display()
    trained, dataset, chosen, folder = open_run(workdir, display, **options)
    measurement = plan_measurement(trained, display, **(generation or {}))
    assessment = assess(trained, dataset, chosen)
    results = {
        **describe(trained),
        "data": {name: getattr(dataset, name) for name in ("name", "version", "split")},
        **assessment.scores,
        "majorities": assessment.describe_majorities(),
        "confusion": None if assessment.confusion is None else assessment.confusion.tolist(),
        "class_names": assessment.class_names,
        "generation": measurement and measure(measurement, trained, dataset, display),
    }
    write_json(folder / "evaluation.json", results)
    show_evaluation(display.console, results, folder / "evaluation.json")
    return results


def statistics(config, display=None, **options):
    """Computes the reference statistics of a configuration's data, for FID and KID.

    Args:
      config: the configuration.
      display: a `Display`; None makes one.
      **options: of `mpcc_jax.evaluation.generation.measure_statistics`.

    Returns:
      Path of the statistics.
    """
    display = display or Display()
    validate(config)
    with display.reading() as progress:
        dataset = load_dataset(config, progress)
    reference, path = measure_statistics(config, dataset, display, **options)
    show_statistics(display.console, reference, path)
    return path


def _known_generation(folder, trained):
    """FID and the like of this very checkpoint, if it has been evaluated before."""
    try:
        known = json.loads((folder / "evaluation.json").read_text())
    except (OSError, ValueError):
        return None
    same = {name: value for name, value in describe(trained).items() if name in ("iteration", "seed", "generator")}
    return known["generation"] if same.items() <= known.items() else None


def report(workdir, display=None, **options):
    """Writes report.html and its figures.

    Args:
      workdir: of the run.
      display: a `Display`; None makes one.
      **options: of `open_run`.

    Returns:
      Path of the page.
    """
    display = display or Display()
    trained, dataset, chosen, folder = open_run(workdir, display, **options)
    several = trained.config.num_seeds > 1
    findings = gather_findings(
        assess(trained, dataset, chosen),
        title=f"MPCC on {dataset.name}" + (f", seed {trained.seed}" if several else ""),
        generation=_known_generation(folder, trained),
        history=read_history(pathlib.Path(workdir) / "metrics.jsonl", trained.seed if several else None),
        config=settings_of(trained.config),
        environment=describe(trained),
    )
    write_page(findings, folder)
    show_written(display.console, folder / "report.html")
    return folder / "report.html"


def predict(workdir, images, out=None, copy_to=None, skip_bad=False, display=None, **options):
    """Clusters pictures: a CSV file with path, cluster, probability and log_prob.

    Args:
      workdir: of the run.
      images: a folder, a picture or an .npz.
      out: path of the CSV file; None is predictions.csv in the working directory.
      copy_to: a new folder that gets a folder of pictures for each cluster, or None.
      skip_bad: whether to leave out files that cannot be read.
      display: a `Display`; None makes one.
      **options: of `mpcc_jax.trained_model.load`.

    Returns:
      Path of the CSV file.
    """
    display = display or Display()
    trained = load(workdir, warn=display.warn, **options)
    if copy_to is not None:
        copy_to = new_folder("--copy_to", copy_to)
    out = check_output(out or folder_of(trained, workdir) / "predictions.csv", is_file=True)
    given = read_images(images, trained.image_shape, background=trained.config.data.background, skip_bad=skip_bad)
    encoding = trained.encode(given.images)
    clusters = encoding.log_membership.argmax(axis=-1)
    with open_output(out, newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "cluster", "probability", "log_prob"])
        rows = zip(given.names, clusters, np.exp(encoding.log_membership.max(axis=-1)), encoding.log_prob, strict=True)
        writer.writerows([name, cluster, f"{share:.6f}", f"{density:.4f}"] for name, cluster, share, density in rows)
    if copy_to is not None:
        copy_by_cluster(given, pathlib.Path(images).expanduser(), clusters, trained.num_clusters, copy_to)
    show_prediction(display.console, clusters, trained.num_clusters, given.skipped, out, copy_to)
    return out


def generate(workdir, num_images=64, cluster=None, truncation=1.0, key=0, out=None, display=None, **options):
    """Writes new images.

    Args:
      workdir: of the run.
      num_images: how many.
      cluster: a component, or None for all.
      truncation: factor on the deviation from the mean of the component.
      key: PRNG key or seed.
      out: a sheet (.png), arrays (.npz: images, clusters, latents), or a new folder of PNG files; None is generated.png
        in the working directory.
      display: a `Display`; None makes one.
      **options: of `mpcc_jax.trained_model.load`.

    Returns:
      Path of what was written.
    """
    display = display or Display()
    trained = load(workdir, warn=display.warn, **options)
    out = check_output(out or folder_of(trained, workdir) / "generated.png")
    z, y = trained.draw(key, num_images, cluster, truncation)
    images = to_uint8(trained.decode(z, y))
    names = [f"{index:06}_cluster_{component}" for index, component in enumerate(y)]
    write_images(out, images, names, images=images, clusters=y, latents=z)
    show_written(display.console, out)
    return out


def reconstruct(workdir, images, out=None, skip_bad=False, display=None, **options):
    """Writes G(E(x)) of pictures beside them, and prints the mean squared error.

    Args:
      workdir: of the run.
      images: a folder, a picture or an .npz.
      out: a sheet of pairs (.png), arrays (.npz: originals, reconstructions, clusters), or a new folder of PNG files;
        None is reconstructed.png in the working directory.
      skip_bad: whether to leave out files that cannot be read.
      display: a `Display`; None makes one.
      **options: of `mpcc_jax.trained_model.load`.

    Returns:
      The mean squared error, in squares of pixels in [-1, 1].
    """
    display = display or Display()
    trained = load(workdir, warn=display.warn, **options)
    out = check_output(out or folder_of(trained, workdir) / "reconstructed.png")
    given = read_images(images, trained.image_shape, background=trained.config.data.background, skip_bad=skip_bad)
    encoding = trained.encode(given.images)
    clusters = encoding.log_membership.argmax(axis=-1)
    decoded = trained.decode(encoding.mean, clusters)
    originals = np.asarray(to_float(given.images)) if given.images.dtype == np.uint8 else given.images
    error = float(np.mean((decoded - originals) ** 2, dtype=np.float64))
    decoded, originals = to_uint8(decoded), to_uint8(originals)
    shown = decoded
    if out.suffix == ".png":
        pairs = np.stack([originals, decoded], axis=1)[:RECONSTRUCTED]
        shown = pairs.reshape(-1, *trained.image_shape)
    names = [f"{index:06}_{name}" for index, name in enumerate(given.names)]
    write_images(out, shown, names, originals=originals, reconstructions=decoded, clusters=clusters)
    show_reconstruction(display.console, error, len(decoded), given.skipped, out)
    return error
