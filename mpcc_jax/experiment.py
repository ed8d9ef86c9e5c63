"""A whole run: check, load, train, score, draw."""

import contextlib
import dataclasses
import json
import time

import jax

from mpcc_jax import report
from mpcc_jax.config import validate, validate_data
from mpcc_jax.console import Display, versions
from mpcc_jax.data import load_dataset, prepare_dataset
from mpcc_jax.data.loaders import DeviceLoader, StreamLoader, choose_placement
from mpcc_jax.data.sampler import Examples
from mpcc_jax.evaluation.scores import choose_sample, score
from mpcc_jax.interruption import catch_sigterm
from mpcc_jax.pictures import draw_pictures
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.loop import Trainer
from mpcc_jax.training.state import abstract_state, build_algorithm, init_state
from mpcc_jax.workdir import check_same_config, open_log, prepare_workdir, write_json


@dataclasses.dataclass(frozen=True)
class Keys:
    """The PRNG keys of a run, one per use, all from `config.seed`.

    Attributes:
      init: of parameters.
      data: of the order of the examples.
      noise: of the latents in training.
      evaluation: of the latents in pictures and standing statistics.
    """

    init: jax.Array
    data: jax.Array
    noise: jax.Array
    evaluation: jax.Array


def split_seed(seed):
    """The keys of a run.

    Args:
      seed: integer.

    Returns:
      `Keys`.
    """
    return Keys(*jax.random.split(jax.random.key(seed), 4))


def load(config, display, dataset=None, *, prepare=False):
    """The data set of a run, shown while it is read, and checked.

    Args:
      config: the configuration.
      display: a `Display`.
      dataset: a `Dataset` to use instead of the configured one.
      prepare: whether to download what is missing.

    Returns:
      A `Dataset`, and the seconds that it took.

    Raises:
      ConfigError, DataError: if it cannot be trained on.
    """
    started = time.monotonic()
    if dataset is None:
        with display.reading() as report:
            dataset = (prepare_dataset if prepare else load_dataset)(config, report)
    validate_data(config, dataset)
    return dataset, time.monotonic() - started


def prepare(config, display=None):
    """Downloads and prepares what a configuration trains on, once.

    Args:
      config: the configuration.
      display: a `Display`; None makes one.

    Returns:
      The `Dataset`.

    Raises:
      ConfigError, DataError: if it cannot be had, or cannot be trained on.
    """
    display = display or Display()
    validate(config)
    dataset, seconds = load(config, display, prepare=True)
    display.data(dataset, seconds)
    return dataset


def train(config, workdir, display=None, dataset=None, *, override=False):
    """Trains, scores and draws as a configuration says; goes on where the run in the working directory stopped.

    Writes config.json, data.json, data.png, checkpoints, metrics.jsonl, results.json, clusters.png and
    reconstructions.png into the working directory.

    Args:
      config: the configuration.
      workdir: path of a directory; made if missing.
      display: a `Display`; None makes one.
      dataset: a `Dataset`, for example from `mpcc_jax.data.from_arrays`; None loads the one that is configured.
      override: whether to go on with a run that was started with another configuration.

    Returns:
      The `Algorithm`, the final `TrainState`, and the results as written; None for results if SIGTERM came.

    Raises:
      ConfigError, DataError, WorkdirError: before anything is compiled.
      NonFiniteError: if a loss became NaN or infinite.
      CheckpointError: if a checkpoint cannot be written, or none can be read.
    """
    display = display or Display()
    validate(config)
    dataset, loading_seconds = load(config, display, dataset)
    workdir = prepare_workdir(workdir)
    checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoints.keep_last, config.checkpoints.keep_every)
    if checkpoints.iterations:
        check_same_config(workdir, config, override=override)
    write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))
    write_json(workdir / "data.json", dataset.facts())
    report.save_contact_sheet(workdir / "data.png", dataset.images, dataset.labels, dataset.class_names, dataset.name)

    keys = split_seed(config.seed)
    algorithm = build_algorithm(config, dataset.images.shape[-1])
    restored = checkpoints.restore(abstract_state(algorithm), display.warn)
    state, start = restored or (init_state(algorithm, keys.init), 0)
    checkpoints.forget_after(start)
    placement = choose_placement(config.data.placement, dataset.images.nbytes)
    display.introduce(config, dataset, loading_seconds, placement, state.params, workdir, start)

    training = config.training
    seen = training.iterations * training.discriminator_steps * training.batch_size
    chosen = choose_sample(len(dataset.images), seen, config.evaluation.num_images)
    sample = Examples(dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen])

    started = time.monotonic()
    trainer = Trainer(algorithm, _loader(config, dataset, placement, keys), keys.noise, training.iterations_per_call)
    state, done = _train(config, trainer, state, start, sample, checkpoints, workdir, display)
    seconds = time.monotonic() - started
    if done < training.iterations:
        display.interrupted(done, training.iterations, workdir)
        return algorithm, state, None

    scores, clusters = score(algorithm.model, state, *sample, config.evaluation.batch_size)
    results = {
        "iterations": training.iterations,
        "seed": config.seed,
        "variant": config.variant,
        "data": {name: getattr(dataset, name) for name in ("name", "version", "split")},
        "resumed_at": start,
        "training_seconds": round(seconds, 1),
        **scores,
    }
    draw_pictures(config, algorithm, state, sample, clusters, dataset.class_names, keys.evaluation, workdir)
    write_json(workdir / "results.json", results)
    display.conclude(results, len(dataset.images), workdir)
    return algorithm, state, results


def _loader(config, dataset, placement, keys):
    labels = dataset.labels if config.training.conditional else None
    kind = {"device": DeviceLoader, "stream": StreamLoader}[placement]
    return kind(dataset.images, labels, keys.data, config.training.discriminator_steps, config.training.batch_size)


def next_stop(done, total, *intervals):
    """Where training pauses next: at a multiple of an interval, or at the end.

    Args:
      done, total: iterations.
      *intervals: iterations; 0 is never.

    Returns:
      An iteration above `done`.
    """
    return min([total, *((done // every + 1) * every for every in intervals if every)])


def _train(config, trainer, state, done, sample, checkpoints, workdir, display):
    """Trains to the end, or to the call in which SIGTERM came; what is returned is saved."""
    total, evaluation, every = config.training.iterations, config.evaluation, config.checkpoints.every
    facts = {"config": json.loads(config.to_json_best_effort()), "versions": versions()}
    with (
        open_log(workdir / "metrics.jsonl", done) as log,
        display.training(total, done) as progress,
        contextlib.closing(checkpoints),
        catch_sigterm() as stop_requested,
    ):

        def write(iteration, values):
            log.write(json.dumps({"iteration": iteration, **values}) + "\n")
            log.flush()

        def record(iteration, metrics):
            latest = {name: float(values[-1]) for name, values in metrics.items()}
            write(iteration, latest)
            progress.advance(iteration, latest)

        while done < total:
            stop = next_stop(done, total, evaluation.every, every)
            state, done = trainer.run(state, done, stop, record, stop_requested)
            if evaluation.every and done % evaluation.every == 0 and done < total:
                scores, _ = score(trainer.algorithm.model, state, *sample, evaluation.batch_size)
                write(done, scores)
                progress.scores(done, scores)
            stopping = done == total or stop_requested()
            if stopping or (every and done % every == 0):
                checkpoints.save(state, done, facts)
            if stopping:
                break
    return state, done
