"""The subcommands and what they print. Arguments are flags; what is returned is the file or folder that was written."""

import csv
import io
import itertools
import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.cli.arguments import MEASUREMENT
from mpcc_jax.cli.image_output import check_output, copy_by_cluster, write_images
from mpcc_jax.config import get_config, settings_of, validate
from mpcc_jax.data import Dataset, load_dataset
from mpcc_jax.data.folder import ImageFiles, read_images
from mpcc_jax.data.loader import to_float
from mpcc_jax.errors import DataError
from mpcc_jax.evaluation import evaluate as evaluation
from mpcc_jax.evaluation.features import to_uint8
from mpcc_jax.evaluation.generation import measure, measure_statistics, plan_measurement
from mpcc_jax.evaluation.scores import choose_sample
from mpcc_jax.printing import Display, describe_scores, table
from mpcc_jax.released.runs import export_released, import_released
from mpcc_jax.report import write_page
from mpcc_jax.report.gather import gather_findings, read_history
from mpcc_jax.trained_model import TrainedModel, load
from mpcc_jax.training import train as training
from mpcc_jax.training.distributed import connect
from mpcc_jax.training.export import export_model as write_model
from mpcc_jax.training.export import export_seed
from mpcc_jax.workdir import (
    PRETRAINED,
    describe_machine,
    differing_data,
    find_run,
    new_folder,
    prepare_workdir,
    read_results,
    read_run,
    read_settings,
    replace_file,
    versions,
    write_json,
)

RECONSTRUCTED = 64
OF_TRAINING = ("iterations", "resumed_at", "training_seconds", "best_checkpoint")  # what training adds to the scores
SHOWN_SKIPPED = 5
SHOWN_CLUSTERS = 30
# TFDS recommends OpenCV, though Pillow decodes the same pixels; orbax misses a file that it did not write itself.
NOISE = re.compile("OpenCV|Metadata file does not exist")
# What orbax raises it logs too, with a traceback.
logging.getLogger("absl").addFilter(lambda record: not (record.exc_info or NOISE.search(record.getMessage())))


def train(
    config: str,
    overrides: Sequence[str] = (),
    workdir: str | None = None,
    estimate: bool = False,
    resume: str = "auto",
    init_from: str | None = None,
    **processes: Any,
) -> None:
    """Trains into `workdir`, by default runs/NAME or runs/NAME_seedN, or goes on there."""
    settings = get_config(config, overrides)
    connect(**processes)
    if estimate:
        training.estimate(settings)
        return
    name = Path(config.rpartition(":")[2]).stem + (f"_seed{settings.seed}" if settings.seed else "")
    training.train(
        settings, f"runs/{name}" if workdir is None else workdir, override=resume == "override", init_from=init_from
    )


def prepare(config: str, overrides: Sequence[str] = ()) -> None:
    """Downloads and prepares the data of a configuration, once."""
    training.prepare(get_config(config, overrides))


def _load_model(workdir: str, **model: Any) -> tuple[Display, TrainedModel, Path]:
    """Returns also the folder for results: that of the run, or of its seed if there are several."""
    display, run = Display(), find_run(workdir)
    trained = load(run, **model, warn=display.warn)
    if run.parent == PRETRAINED:
        display.line(
            f"{run.name} is a model that comes with mpcc_jax; runs are named by their folder, as in runs/{run.name}"
        )
        return display, trained, prepare_workdir(Path(PRETRAINED.name, run.name))
    folder = run / (f"seed_{trained.seed}" if trained.config.num_seeds > 1 else "")
    folder.mkdir(exist_ok=True)
    return display, trained, folder


def _load_data(config: ConfigDict, display: Display) -> Dataset:
    with display.reading() as progress:
        return load_dataset(config, progress)


def _load_run_data(
    trained: TrainedModel, workdir: str, display: Display, data_dir: str | None, num_images: int
) -> tuple[Dataset, slice | np.ndarray]:
    """Loads the data that a run was trained on, and chooses images to score (all if `num_images` is 0).

    Raises:
      DataError: if it is other data now.
    """
    config, before = trained.config.copy_and_resolve_references(), read_run(workdir)[1]
    kind, _, location = config.data.name.partition(":")
    given = kind in ("folder", "npz")
    if given:  # a relative path was one of where training was started
        here = Path(data_dir or location).expanduser()
        here = here if data_dir or here.is_absolute() else Path(before["origin"] or here)
        if not here.exists():
            raise DataError(f"the images of the run are not at {str(here)!r} any more; say where by --data_dir=PATH.")
        config.data.name = f"{kind}:{here}"
    else:
        config.data.dir = data_dir or config.data.dir
    dataset = _load_data(config, display)
    now = dataset.facts()
    if given and data_dir is not None:  # it may have another name there
        before = {**before, "name": None}
    text = differing_data(before, now)
    if text.startswith("name") or before["shape"] not in (None, now["shape"]):
        raise DataError(
            f"this is not the data that the run was trained on: {text}. Data that was given as arrays is scored from "
            "Python: mpcc_jax.evaluation.evaluate.evaluate(mpcc_jax.load(workdir), dataset)."
        )
    if text:
        display.warn(f"the data has changed since the run was trained: {text}.")
    return dataset, choose_sample(len(dataset.images), math.inf, num_images)


def _read_results(trained: TrainedModel, folder: Path) -> tuple[Path, dict[str, Any]]:
    """The file of scores, and what is in it: results.json of a finished run, otherwise one of that iteration."""
    finished = trained.iteration >= trained.config.training.iterations
    path = folder / ("results.json" if finished else f"results_at_{trained.iteration}.json")
    return path, read_settings(folder, path.name) if path.exists() else {}


def _describe(trained: TrainedModel) -> dict[str, Any]:
    return evaluation.describe(trained, machine=describe_machine(), versions=versions())


def evaluate(workdir: str, data_dir: str | None = None, num_images: int = 0, **options: Any) -> Path:
    """Scores a trained model on its data, and writes results.json (of an unfinished run results_at_ITERATION.json)."""
    measured = {name: options.pop(name) for name in MEASUREMENT if name in options}
    display, trained, folder = _load_model(workdir, **options)
    dataset, chosen = _load_run_data(trained, workdir, display, data_dir, num_images)
    measurement = plan_measurement(trained, display.warn, **measured)
    path, before = _read_results(trained, folder)
    results = {
        **{name: before[name] for name in OF_TRAINING if name in before},
        **_describe(trained),
        "data": {name: getattr(dataset, name) for name in ("name", "version", "split")},
        **evaluation.evaluate(trained, dataset, chosen).scores,
        "generation": measurement and measure(measurement, trained, dataset, display.warn, display.reading),
    }
    write_json(path, results)
    _show_scores(results, display)
    return path


def _shorten(texts: list[str], count: int) -> list[str]:
    return texts[:count] + [f"and {len(texts) - count} more"] * (len(texts) > count)


def _spread(value: float | dict[str, float]) -> str:
    return f"{value['mean']:.4g} ± {value['sd']:.2g}" if isinstance(value, dict) else f"{value:.4g}"


def _show_scores(results: dict[str, Any], display: Display) -> None:
    data = " ".join(text for text in results["data"].values() if text)
    facts = {
        "model": f"iteration {results['iteration']}, seed {results['seed']}, variant {results['variant']}, "
        f"{results['generator']['statistics']} statistics",
        "data": f"{results['evaluated_images']} images of {data}",
        **describe_scores(results),
    }
    rows = zip(results["cluster_sizes"], results["majorities"] or itertools.repeat(None), strict=False)
    lines = [f"{k}: {size}" + (f", {row[1]:.0%} {row[0]!r}" if row else "") for k, (size, row) in enumerate(rows)]
    facts["clusters"] = "; ".join(_shorten(lines, SHOWN_CLUSTERS))
    generation = results["generation"] or {}
    titles = {"fid": "FID", "kid": "KID", "inception_score": "Inception Score"}
    facts |= {text: _spread(generation[name]) for name, text in titles.items() if generation.get(name) is not None}
    display.console.print(table("Evaluation", facts))


def statistics(config: str, overrides: Sequence[str] = (), **options: Any) -> Path:
    """Computes the reference statistics of a configuration's data, for FID and KID."""
    display, settings = Display(), get_config(config, overrides)
    validate(settings)
    dataset = _load_data(settings, display)
    reference, path = measure_statistics(settings, dataset, display.warn, display.reading, **options)
    facts = {name: text for name, text in reference.protocol.items() if text not in (None, "")}
    facts["images"] = reference.count
    if reference.inception_score is not None:
        facts["Inception Score"] = _spread(reference.inception_score._asdict())
    display.console.print(table("Reference statistics", facts))
    return path


def _read_members(run: Path) -> list[dict[str, Any]]:
    """The scores by which one of several seeds was chosen, and its accuracy; of a finished run of several."""
    results = read_results(run)
    return [
        {
            "seed": member["seed"],
            "selected": member["seed"] == results["selected_seed"],
            "accuracy_many_to_one": member.get("accuracy_many_to_one"),
            **scores,
        }
        for member, scores in zip(results.get("members", ()), results.get("selection", ()), strict=False)
    ]


def report(workdir: str, data_dir: str | None = None, num_images: int = 0, **model: Any) -> Path:
    """Writes report.html and its figures, with FID and the like if `evaluate` has measured them."""
    display, trained, folder = _load_model(workdir, **model)
    dataset, chosen = _load_run_data(trained, workdir, display, data_dir, num_images)
    environment, results = _describe(trained), _read_results(trained, folder)[1]
    same = all(results.get(name) == environment[name] for name in ("iteration", "seed", "generator"))
    several = trained.config.num_seeds > 1
    findings = gather_findings(
        evaluation.evaluate(trained, dataset, chosen),
        trained,
        dataset,
        chosen,
        title=f"MPCC on {dataset.name}" + (f", seed {trained.seed}" if several else ""),
        generation=results.get("generation") if same else None,
        history=read_history(find_run(workdir) / "metrics.jsonl", trained.seed if several else None),
        config=settings_of(trained.config),
        environment=environment,
        members=_read_members(find_run(workdir)),
    )
    write_page(findings, folder)
    return folder / "report.html"


def _read_pictures(images: str, trained: TrainedModel, skip_bad: bool, display: Display) -> ImageFiles:
    files = read_images(images, trained.image_shape, background=trained.config.data.background, skip_bad=skip_bad)
    if files.skipped:
        names = _shorten([name for name, _ in files.skipped], SHOWN_SKIPPED)
        display.warn(f"left out, since they cannot be read: {', '.join(names)}")
    return files


def predict(
    workdir: str, images: str, out: str | None = None, copy_to: str | None = None, skip_bad: bool = False, **model: Any
) -> Path:
    """Clusters pictures: writes a CSV file with path, cluster, probability and log_prob (nats)."""
    display, trained, folder = _load_model(workdir, **model)
    copies = new_folder("--copy_to", copy_to) if copy_to else None
    path = check_output(out or folder / "predictions.csv", is_file=True)
    files = _read_pictures(images, trained, skip_bad, display)
    encoding = trained.encode(files.images)
    clusters = encoding.log_membership.argmax(axis=-1)
    rows = zip(files.names, clusters, np.exp(encoding.log_membership.max(axis=-1)), encoding.log_prob, strict=True)
    with replace_file(path) as file, io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "cluster", "probability", "log_prob"])
        writer.writerows([name, cluster, f"{share:.6f}", f"{density:.4f}"] for name, cluster, share, density in rows)
    sizes = np.bincount(clusters, minlength=trained.num_clusters)
    display.line(f"{len(clusters)} images, by cluster: {', '.join(map(str, sizes))}")
    if copies:
        copy_by_cluster(files, Path(images).expanduser(), clusters, trained.num_clusters, copies)
        display.line(f"copied into {copies}")
    return path


def generate(
    workdir: str,
    num_images: int = 64,
    cluster: int | None = None,
    truncation: float = 1.0,
    key: int = 0,
    out: str | None = None,
    **model: Any,
) -> Path:
    """Writes new images: a sheet (.png), arrays (.npz: images, clusters, latents), or a new folder of PNG files."""
    _, trained, folder = _load_model(workdir, **model)
    path = check_output(out or folder / "generated.png")
    z, y = trained.draw(key, num_images, cluster, truncation)
    images = to_uint8(trained.decode(z, y))
    names = [f"{index:06}_cluster_{component}" for index, component in enumerate(y)]
    write_images(path, images, names, images=images, clusters=y, latents=z)
    return path


def reconstruct(workdir: str, images: str, out: str | None = None, skip_bad: bool = False, **model: Any) -> Path:
    """Writes G(E(x)) of pictures as `generate` does, on a sheet beside x, and prints the mean squared error."""
    display, trained, folder = _load_model(workdir, **model)
    path = check_output(out or folder / "reconstructed.png")
    files = _read_pictures(images, trained, skip_bad, display)
    encoding = trained.encode(files.images)
    clusters = encoding.log_membership.argmax(axis=-1)
    decoded = trained.decode(encoding.mean, clusters)
    originals = np.asarray(to_float(files.images)) if files.images.dtype == np.uint8 else files.images
    error = float(np.mean((decoded - originals) ** 2, dtype=np.float64))
    decoded, originals = to_uint8(decoded), to_uint8(originals)
    pairs = np.stack([originals, decoded], axis=1)[:RECONSTRUCTED].reshape(-1, *trained.image_shape)
    names = [f"{index:06}_{name}" for index, name in enumerate(files.names)]
    sheet = pairs if path.suffix == ".png" else decoded
    write_images(path, sheet, names, originals=originals, reconstructions=decoded, clusters=clusters)
    display.line(f"{len(decoded)} images reconstructed, mean squared error {error:.4f} (pixels in [-1, 1])")
    return path


def export(workdir: str, seed: int, out: str) -> Path:
    """Makes a run of its own of one seed of several."""
    export_seed(workdir, seed, out)
    return Path(out)


def export_model(workdir: str, out: str, **model: Any) -> Path:
    """Writes a trained model with its configuration, scores and model card, to use elsewhere."""
    return write_model(workdir, out, **model, warn=Display().warn)


def import_weights(
    config: str, released_dir: str, workdir: str, overrides: Sequence[str] = (), iteration: int = 0
) -> Path:
    """Makes a run of the authors' weights."""
    return import_released(released_dir, workdir, get_config(config, overrides), iteration, Display().warn)


def export_weights(workdir: str, out: str, file_format: str = "npz", **options: Any) -> Path:
    """Writes a run as the authors' weights."""
    return export_released(workdir, out, file_format, Display().warn, **options)
