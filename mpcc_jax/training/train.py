"""A whole run: check, load, train, score, draw; of one seed or of several at once."""

import contextlib
import dataclasses
import math
import pathlib
import time

from mpcc_jax import report
from mpcc_jax.config import validate, validate_data
from mpcc_jax.console import Display, versions
from mpcc_jax.data import Dataset, load_dataset, prepare_dataset
from mpcc_jax.data.loader import DeviceLoader, Examples, StreamLoader, choose_placement
from mpcc_jax.evaluation.scores import choose_sample, over_seeds, score
from mpcc_jax.report.pictures import draw_pictures
from mpcc_jax.training.checkpoints import Checkpoints
from mpcc_jax.training.distributed import check_agreement, from_writer, is_writer, stop_requests, wait_for_all
from mpcc_jax.training.logging import RunLog
from mpcc_jax.training.loop import Trainer
from mpcc_jax.training.monitor import Monitor
from mpcc_jax.training.sharding import Layout, make_layout, member, on_one_device
from mpcc_jax.training.start import first_state, prepare_start
from mpcc_jax.training.state import Algorithm, Keys, abstract_state, build_algorithm, split_seed
from mpcc_jax.workdir import check_same_config, flatten, prepare_workdir, settings_of, write_json


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


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same while a run trains.

    Attributes:
      config: the configuration.
      workdir: the directory that everything is written to.
      display: a `Display`.
      dataset: the `Dataset`.
      sample: `Examples` that the run is scored on.
      layout: the `Layout`.
      seeds: one, or several that are trained at once.
      keys: `Keys` of each seed.
      algorithm: the `Algorithm`.
      checkpoints: `Checkpoints`.
    """

    config: object
    workdir: pathlib.Path
    display: Display
    dataset: Dataset
    sample: Examples
    layout: Layout
    seeds: range
    keys: list[Keys]
    algorithm: Algorithm
    checkpoints: Checkpoints

    def members(self, state):
        """The state of every seed on one device; all processes must call it.

        Args:
          state: the `TrainState`.

        Returns:
          Triples (seed, `TrainState`, directory of its pictures); none on processes other than the first.
        """
        local = on_one_device(state, self.layout)
        if not is_writer():
            return []
        if len(self.seeds) == 1:
            return [(self.seeds[0], local, self.workdir)]
        return [(seed, member(local, run), self.workdir / f"seed_{seed}") for run, seed in enumerate(self.seeds)]


def train(config, workdir, display=None, dataset=None, *, override=False, init_from=None):
    """Trains, scores and draws as a configuration says; goes on where the run in the working directory stopped.

    Writes config.json, data.json, data.png, checkpoints, metrics.jsonl, tensorboard, results.json, clusters.png and
    reconstructions.png into the working directory; with several seeds the pictures go into a folder for each. Of
    several processes all have to call it, and the first one writes.

    Args:
      config: the configuration.
      workdir: path of a directory; made if missing.
      display: a `Display`; None makes one.
      dataset: a `Dataset`, for example from `mpcc_jax.data.from_arrays`; None loads the one that is configured.
      override: whether to go on with a run that was started with another configuration.
      init_from: path of another run, to start from its weights, or of its exported state, to go on from there; a run
        that has a checkpoint of its own goes on from it.

    Returns:
      The `Algorithm`, the final `TrainState` (with a leading axis if there are several seeds), and the results as
      written; None for results if SIGTERM came, and on processes other than the first.

    Raises:
      ConfigError, DataError, WorkdirError: before anything is compiled.
      NonFiniteError: if a loss or a gradient became NaN or infinite.
      CheckpointError: if a checkpoint cannot be written, or none can be read.
    """
    display = display or Display(quiet=not is_writer())
    validate(config)
    check_agreement("config.", flatten(settings_of(config)))
    layout = make_layout(config)
    dataset, loading_seconds = load(config, display, dataset)
    run = _open(config, workdir, display, dataset, layout, override=override)
    placement = choose_placement(config.data.placement, dataset.images.nbytes)
    started = time.monotonic()
    trainer = _trainer(run, placement)
    # Before the training is traced, which is Python's work: XLA compiles the first state meanwhile.
    prepared = prepare_start(run, init_from)
    newest = prepared.iteration
    if newest < config.training.iterations:
        trainer.compile_ahead(abstract_state(run.algorithm, layout), newest, _pause(config, newest))
    # While XLA compiles.
    if is_writer():
        sheet = run.workdir / "data.png"
        report.save_contact_sheet(sheet, dataset.images, dataset.labels, dataset.class_names, dataset.name)
    state, start, origin = first_state(run, prepared)
    display.introduce(run, loading_seconds, placement, start, origin)
    state, done = _train(run, trainer, state, start)
    if done < config.training.iterations:
        display.interrupted(done, config.training.iterations, run.workdir)
        return run.algorithm, state, None
    results = _conclude(run, state, start, time.monotonic() - started)
    wait_for_all("finished")
    return run.algorithm, state, results


def _open(config, workdir, display, dataset, layout, *, override):
    """Checks the working directory, and writes down what the run is."""
    facts = dataset.facts()
    told = {name: value for name, value in facts.items() if name not in ("origin", "notes")}
    check_agreement("the data's ", flatten(told))
    workdir, kept = prepare_workdir(workdir), config.checkpoints
    check_same_config(workdir, config, override=override)
    wait_for_all("checked")
    if is_writer():
        # Before everything else, so that a directory with anything of a run in it says whose it is.
        write_json(workdir / "config.json", settings_of(config))
        write_json(workdir / "data.json", facts)
    checkpoints = Checkpoints(workdir / "checkpoints", kept.keep_last, kept.keep_every, keep_best=bool(kept.best))
    training = config.training
    seen = training.iterations * training.discriminator_steps * training.batch_size
    chosen = choose_sample(len(dataset.images), seen, config.evaluation.num_images)
    sample = Examples(dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen])
    seeds = range(config.seed, config.seed + config.num_seeds)
    algorithm = build_algorithm(config, dataset.images.shape[-1])
    keys = [split_seed(seed) for seed in seeds]
    return Run(config, workdir, display, dataset, sample, layout, seeds, keys, algorithm, checkpoints)


def next_stop(done, total, *intervals):
    """Where training pauses next: at a multiple of an interval, or at the end.

    Args:
      done, total: iterations.
      *intervals: iterations; 0 is never.

    Returns:
      An iteration above `done`.
    """
    return min([total, *((done // every + 1) * every for every in intervals if every)])


def _trainer(run, placement):
    training, labels = run.config.training, run.dataset.labels if run.config.training.conditional else None
    kind = {"device": DeviceLoader, "stream": StreamLoader}[placement]
    data_keys = [keys.data for keys in run.keys]
    loader = kind(run.dataset.images, labels, data_keys, training.discriminator_steps, training.batch_size, run.layout)
    noise_key = run.layout.replicate_keys(*(keys.noise for keys in run.keys))
    seeds = run.seeds if len(run.seeds) > 1 else None
    return Trainer(run.algorithm, loader, noise_key, training.iterations_per_call, run.layout, seeds)


def _pause(config, done):
    """Where training pauses next."""
    return next_stop(done, config.training.iterations, config.evaluation.every, config.checkpoints.every)


def _train(run, trainer, state, done):
    """Trains to the end, or to the call in which SIGTERM came; what is returned is saved."""
    config, total, every = run.config, run.config.training.iterations, run.config.checkpoints.every
    facts = {"config": settings_of(config), "versions": versions()}
    seeds = run.seeds if len(run.seeds) > 1 else None
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(run.checkpoints))
        log = None
        if is_writer():
            log = RunLog(run.workdir, done, seeds, tensorboard=config.logging.tensorboard)
            stack.enter_context(contextlib.closing(log))
        progress = stack.enter_context(run.display.training(total, done))
        stop_requested = stack.enter_context(stop_requests())
        images, key = run.dataset.images, run.keys[0].evaluation
        monitor = Monitor(config, run.algorithm, run.layout, images, key, done, log, progress, run.display.warn)
        while done < total:
            stop = _pause(config, done)
            state, done = trainer.run(state, done, stop, monitor.report, monitor.observe, stop_requested)
            best = None
            due = config.evaluation.every and done % config.evaluation.every == 0
            if due and (done < total or config.checkpoints.best):
                best = _score_on_the_way(run, state, done, log, progress)
            stopping = done == total or stop_requested()
            if stopping or best is not None or (every and done % every == 0):
                run.checkpoints.save(state, done, facts, best)
            if stopping:
                break
    return state, done


def _score_on_the_way(run, state, done, log, progress):
    """Scores every seed; returns the mean of the score that chooses the best checkpoint, if one does."""
    compared = []
    for index, (seed, one, _) in enumerate(run.members(state)):
        scores, _ = score(run.algorithm.model, one, *run.sample, run.config.evaluation.batch_size)
        log.write(done, scores, index)
        progress.scores(done, scores, seed if len(run.seeds) > 1 else None)
        if run.config.checkpoints.best:
            compared.append(scores[run.config.checkpoints.best])
    if not run.config.checkpoints.best:
        return None
    known = bool(compared) and None not in compared
    return from_writer(sum(compared) / len(compared) if known else -math.inf)


def _conclude(run, state, start, seconds):
    """Scores and draws every seed, and writes the results; on the first process."""
    config, scored = run.config, []
    for seed, one, folder in run.members(state):
        folder.mkdir(exist_ok=True)
        scores, clusters = score(run.algorithm.model, one, *run.sample, config.evaluation.batch_size)
        names = run.dataset.class_names
        draw_pictures(config, run.algorithm, one, run.sample, clusters, names, seed, folder)
        scored.append(scores)
    if not scored:
        return None
    results = {
        "iterations": config.training.iterations,
        "seed": config.seed,
        "variant": config.variant,
        "data": {name: getattr(run.dataset, name) for name in ("name", "version", "split")},
        "resumed_at": start,
        "training_seconds": round(seconds, 1),
        "best_checkpoint": run.checkpoints.best,
    }
    if len(scored) == 1:
        results |= scored[0]
    else:
        members = [{"seed": seed, **scores} for seed, scores in zip(run.seeds, scored, strict=True)]
        results |= {"num_seeds": len(scored), "members": members, **over_seeds(scored)}
    write_json(run.workdir / "results.json", results)
    run.display.conclude(results, len(run.dataset.images), run.workdir)
    return results
