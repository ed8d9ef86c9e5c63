"""One planned run: trained or gone on with, measured at its last iteration, and recorded."""

import math
from typing import NamedTuple

from mpcc_jax.errors import CheckpointError, NonFiniteError
from mpcc_jax.evaluation.evaluate import reconstruction_mse
from mpcc_jax.evaluation.generation import measure, plan_measurement
from mpcc_jax.evaluation.scores import choose_sample
from mpcc_jax.trained_model import load
from mpcc_jax.training.train import train
from mpcc_jax.workdir import settings_of, write_json
from reproduce.plan import read_results
from reproduce.provenance import begin_session, describe_run
from reproduce.records import FAILED, FINISHED, read_json

STOPPED = "stopped"
# What one run may die of while the others go on.
FAILURES = (NonFiniteError, CheckpointError)


class Inception(NamedTuple):
    """What FID and Inception Score are measured with.

    Attributes:
      path: of the weights.
      num_samples: generated images.
    """

    path: object
    num_samples: int


class Context(NamedTuple):
    """What is said about runs that do not say it themselves, and how they are measured.

    Attributes:
      inception: an `Inception`; None measures neither FID nor Inception Score.
      hardware, commit: of runs that were trained by other means; None is not known.
    """

    inception: Inception | None = None
    hardware: str | None = None
    commit: str | None = None


def execute(run, dataset, display, context):
    """Does what is left of a run, and writes the record of each of its seeds.

    Args:
      run: a `PlannedRun`.
      dataset: the `Dataset`.
      display: a `Display`.
      context: a `Context`.

    Returns:
      "finished", "failed", or "stopped" if SIGTERM came.

    Raises:
      ConfigError, DataError, WorkdirError, ReproduceError: what is the matter with all runs, not with this one.
    """
    run.records.mkdir(parents=True, exist_ok=True)
    try:
        if read_results(run) is None:
            begin_session(run.workdir)
            if train(run.config, run.workdir, display, dataset)[2] is None:
                return STOPPED
        for seed in run.seeds:
            write_json(run.record_path(seed), _record(run, seed, dataset, display, context))
    except FAILURES as error:
        display.warn(f"{run} has failed: {error}")
        for seed in run.seeds:
            if (read_json(run.record_path(seed)) or {}).get("status") != FINISHED:
                failure = {"status": FAILED, "reason": str(error), **_describe(run, seed)}
                write_json(run.record_path(seed), failure)
        return FAILED
    return FINISHED


def _describe(run, seed):
    """What is known of a run before it begins."""
    config = run.config
    return {
        "scale": run.scale,
        "row": run.row,
        "arm": run.arm,
        "seed": seed,
        "variant": config.variant,
        "precision": config.training.precision,
        "workdir": str(run.workdir),
        "settings": settings_of(config),
    }


def _record(run, seed, dataset, display, context):
    """All of a finished seed; what an earlier record has measured is not measured again."""
    results, before = read_results(run), read_json(run.record_path(seed)) or {}
    several = len(run.seeds) > 1
    own = next(one for one in results["members"] if one["seed"] == seed) if several else results
    scores, generation = before.get("scores"), before.get("generation")
    config = run.config
    if scores is None or (generation is None and context.inception):
        options = {"iteration": config.training.iterations, "seed": seed if several else None}
        trained = load(run.workdir, report=display.warn, **options)
    if scores is None:
        scores = _numbers(own) | {"reconstruction_mse": _measure_reconstruction(trained, dataset)}
    if generation is None and context.inception:
        options = {"inception": str(context.inception.path), "num_samples": context.inception.num_samples}
        measurement = plan_measurement(trained, display.warn, **options)
        generation = measure(measurement, trained, dataset, display.warn, display.reading)
    return {
        "status": FINISHED,
        **_describe(run, seed),
        "iterations": results["iterations"],
        "data": {**results["data"], "count": len(dataset.images), "shape": list(dataset.images.shape[1:])},
        "evaluated_images": own["evaluated_images"],
        "scores": scores,
        "generation": generation,
        **describe_run(run.workdir, results, seed if several else None, context.hardware, context.commit),
    }


def _numbers(results):
    """The scores among the results of a run."""
    about = ("seed", "iterations", "resumed_at", "training_seconds", "best_checkpoint", "evaluated_images")
    return {name: value for name, value in results.items() if isinstance(value, int | float) and name not in about} | {
        "cluster_sizes": results["cluster_sizes"]
    }


def _measure_reconstruction(trained, dataset):
    """Of the images that the run was scored on."""
    training = trained.config.training
    seen = training.iterations * training.discriminator_steps * training.batch_size
    images = dataset.images[choose_sample(len(dataset.images), seen, trained.config.evaluation.num_images)]
    error = reconstruction_mse(trained, images, trained.encode(images))
    return error if math.isfinite(error) else None
