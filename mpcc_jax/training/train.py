"""A whole run: check, load, train, score, draw; of one seed or of several at once."""

import concurrent.futures
import contextlib
import dataclasses
import datetime
import functools
import itertools
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.compilation import check_platform, check_precision
from mpcc_jax.config import flatten, settings_of, validate, validate_data
from mpcc_jax.data import Dataset, load_dataset, prepare_dataset
from mpcc_jax.data.loader import DeviceLoader, Examples, StreamLoader, call_bounds, choose_placement
from mpcc_jax.data.warm_labels import make_warm_labels, read_warm_labels
from mpcc_jax.errors import ConfigError
from mpcc_jax.evaluation.evaluate import describe, evaluate, evaluate_clustering
from mpcc_jax.evaluation.scores import choose_sample, over_seeds
from mpcc_jax.evaluation.selection import choose_run, compare_runs
from mpcc_jax.printing import MEASURED_CALLS, Display, TrainingProgress
from mpcc_jax.report.sheets import draw_pictures, save_contact_sheet
from mpcc_jax.trained_model import TrainedModel
from mpcc_jax.training.checkpoints import Checkpoints, read_weights, with_weights
from mpcc_jax.training.distributed import check_agreement, from_writer, is_writer, stop_requests, wait_for_all
from mpcc_jax.training.logging import Monitor, RunLog, memory_in_use
from mpcc_jax.training.loop import check_finite, iterate, next_stop
from mpcc_jax.training.sharding import Layout, make_layout, on_one_device, select_seed
from mpcc_jax.training.state import Algorithm, Keys, TrainState, abstract_state, build_algorithm, init_state, split_seed
from mpcc_jax.training.steps import compile_train_iterations
from mpcc_jax.workdir import (
    WARM_LABELS,
    check_same_run,
    describe_machine,
    lock_workdir,
    prepare_workdir,
    read_results,
    replace_file,
    versions,
    write_facts,
    write_json,
)

# Kept in a seed's own results.json, and left out of the summary of several seeds.
LONG_SCORES = ("confusion", "majorities", "class_names", "prior_weights", "matched_weights")


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """What stays the same while a run trains."""

    config: ConfigDict
    workdir: Path
    display: Display
    dataset: Dataset
    chosen: Any  # indices of the images that it is scored on
    layout: Layout
    seeds: range
    keys: list[Keys]
    algorithm: Algorithm
    checkpoints: Checkpoints

    @property
    def several_seeds(self) -> range | None:
        """The seeds, or None for a single run."""
        return self.seeds if len(self.seeds) > 1 else None

    @functools.cached_property
    def noise_key(self) -> jax.Array:
        """The key of all noise, of every seed if there are several."""
        return self.layout.replicate_keys(*(keys.noise for keys in self.keys))

    def folder(self, seed: int) -> Path:
        """Returns the folder of the results of a seed."""
        return self.workdir / f"seed_{seed}" if self.several_seeds else self.workdir

    def split(self, state: TrainState) -> list[tuple[int, TrainState]]:
        """Returns the state of every seed on one device; all processes must call it, and the first one gets them."""
        local = on_one_device(state, self.layout)
        if not is_writer():
            return []
        if not self.several_seeds:
            return [(self.seeds[0], local)]
        return [(seed, select_seed(local, run)) for run, seed in enumerate(self.seeds)]


def train(
    config: ConfigDict,
    workdir: Path | str,
    dataset: Dataset | None = None,
    *,
    override: bool = False,
    init_from: Path | str | None = None,
    display: Display | None = None,
) -> dict[str, Any] | None:
    """Trains, scores and draws as a configuration says; goes on where the run in `workdir` stopped.

    Writes config.json, data.json, data.png, checkpoints, metrics.jsonl, tensorboard, results.json, clusters.png and
    reconstructions.png; with several seeds the pictures go into a folder for each. Of several processes all have to
    call it, and the first one writes.

    Args:
      dataset: for example from `mpcc_jax.data.from_arrays`; None loads the one that is configured.
      override: goes on with a run that was started with another configuration.
      init_from: another run, from whose weights a new run starts.
      display: what prints; None makes one.

    Returns:
      What results.json holds; None if SIGTERM came, and on processes other than the first.
    """
    display = display or Display(quiet=not is_writer())
    validate(config)
    check_platform()
    check_precision(config.training.precision)
    check_agreement("config.", flatten(settings_of(config)))
    layout = make_layout(config)
    started = time.monotonic()
    dataset = read_data(config, display, dataset)
    loading_seconds = time.monotonic() - started
    with contextlib.ExitStack() as stack:
        run = _open_run(config, workdir, display, dataset, layout, override=override, locks=stack)
        return _execute(run, init_from, loading_seconds)


def _execute(run: Run, init_from: Path | str | None, loading_seconds: float) -> dict[str, Any] | None:
    config, display, dataset = run.config, run.display, run.dataset
    results = _finished_results(run)
    if results is not None:
        display.already_finished(run.workdir)
        run.checkpoints.close()
        return results
    started = time.monotonic()
    state, start, origin = _first_state(run, init_from)
    _write_facts(run)
    placement = choose_placement(config.data.placement, dataset.images.nbytes)
    display.introduce(config, run.workdir, run.layout, dataset, loading_seconds, placement, start, origin)
    display.parameters(state.params, config.num_seeds)
    state, iteration = _train(run, placement, state, start)
    if iteration < config.training.iterations:
        display.interrupted(iteration, config.training.iterations, run.workdir)
        return None
    seconds = time.monotonic() - started
    results = _conclude(run, state, resumed_at=start, training_seconds=round(seconds, 1))
    wait_for_all("finished")
    return results


def estimate(config: ConfigDict, dataset: Dataset | None = None, *, display: Display | None = None) -> dict[str, float]:
    """Measures by the first calls what training will cost, and keeps nothing.

    Returns:
      "compile_seconds" to the end of the first call, "iterations_per_second", "training_seconds" (scores and pictures
      not included), "checkpoint_bytes" of each that is kept, and the peak memory so far, as in metrics.jsonl.
    """
    display = display or Display(quiet=not is_writer())
    validate(config)
    check_platform()
    check_precision(config.training.precision)
    dataset, layout, total = read_data(config, display, dataset), make_layout(config), config.training.iterations
    with tempfile.TemporaryDirectory() as workdir:
        run = _open_run(config, workdir, display, dataset, layout)
        started = time.monotonic()
        state, _, _ = _first_state(run, None)
        checkpoint_bytes = _count_bytes(state)
        program = compile_train_iterations(run.algorithm, layout)
        loader = _make_loader(run, choose_placement(config.data.placement, dataset.images.nbytes))
        calls = iterate(program, loader, run.noise_key, state, 0, total, config.training.iterations_per_call)
        marks = []
        for _, iteration, metrics in itertools.islice(calls, MEASURED_CALLS):
            jax.block_until_ready(metrics)
            marks.append((iteration, time.monotonic()))
        run.checkpoints.close()
    (first, compiled), (last, ended) = marks[0], marks[-1]
    if first == last:
        raise ConfigError(
            f"config.training.iterations is {total}; allowed with --estimate: more than {first}, one call."
        )
    rate = (last - first) / (ended - compiled)
    cost = {
        "compile_seconds": compiled - started,
        "iterations_per_second": rate,
        "training_seconds": compiled - started + (total - first) / rate,
        "checkpoint_bytes": checkpoint_bytes,
        **memory_in_use(),
    }
    display.line(f"compiled   in {cost['compile_seconds']:.0f} s")
    display.line(_describe_cost(run, checkpoint_bytes, 0, rate))
    return cost


def _count_bytes(state: TrainState) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(state))


def _describe_cost(run: Run, checkpoint_bytes: int, iteration: int, rate: float) -> str:
    left = datetime.timedelta(seconds=round((run.config.training.iterations - iteration) / rate))
    memory = ", ".join(f"{name.partition('_')[0]} {number / 1e9:.1f} GB" for name, number in memory_in_use().items())
    size, kept = checkpoint_bytes / 1e6, run.config.checkpoints.keep_last
    return (
        f"estimate   {left} at {rate:.1f} it/s; memory: {memory}; checkpoints: {size:.1f} MB each, the last {kept} kept"
    )


def prepare(config: ConfigDict, display: Display | None = None) -> Dataset:
    """Downloads and prepares what a configuration trains on, once."""
    display = display or Display()
    validate(config)
    started = time.monotonic()
    dataset = read_data(config, display, prepare=True)
    display.data(dataset, time.monotonic() - started)
    return dataset


def read_data(
    config: ConfigDict, display: Display, dataset: Dataset | None = None, *, prepare: bool = False
) -> Dataset:
    """Returns the data set of a run, checked against its configuration; `prepare` downloads what is missing."""
    if dataset is None:
        with display.reading() as progress:
            dataset = (prepare_dataset if prepare else load_dataset)(config, progress)
    validate_data(config, dataset)
    if config.training.warm_labels != "tsne":
        read_warm_labels(config.training.warm_labels, len(dataset.images), config.model.num_clusters)
    return dataset


def _open_run(
    config: ConfigDict,
    workdir: Path | str,
    display: Display,
    dataset: Dataset,
    layout: Layout,
    *,
    override: bool = False,
    locks: contextlib.ExitStack | None = None,
) -> Run:
    """Checks the working directory, and locks it until `locks` is closed; changes nothing else in it."""
    compared = {name: value for name, value in dataset.facts().items() if name not in ("origin", "notes")}
    check_agreement("the data's ", flatten(compared))
    workdir, kept, training = prepare_workdir(workdir), config.checkpoints, config.training
    check = functools.partial(check_same_run, workdir, config, override=override, facts=compared)
    check(warn=display.warn)
    wait_for_all("checked")
    if locks and is_writer():
        locks.enter_context(lock_workdir(workdir, display.warn))
        check(warn=lambda _: None)  # another process may have trained there in between
    seen = training.iterations * training.discriminator_steps * training.batch_size
    seeds = range(config.seed, config.seed + config.num_seeds)
    return Run(
        config=config,
        workdir=workdir,
        display=display,
        dataset=dataset,
        chosen=choose_sample(len(dataset.images), seen, config.evaluation.num_images),
        layout=layout,
        seeds=seeds,
        keys=[split_seed(seed) for seed in seeds],
        algorithm=build_algorithm(config, dataset.images.shape[-1]),
        checkpoints=Checkpoints(workdir / "checkpoints", kept.keep_last, kept.keep_every, keep_best=bool(kept.best)),
    )


def _finished_results(run: Run) -> dict[str, Any] | None:
    """The results of a run that has nothing left to do."""
    total = run.config.training.iterations
    results = read_results(run.workdir)
    finished = total in run.checkpoints.iterations and results.get("iterations") == total
    return results if from_writer(finished) else None


def _first_state(run: Run, init_from: Path | str | None) -> tuple[TrainState, int, Path | None]:
    """The state that training goes on from, its iteration, and the run that its weights are from, if another."""
    restored = run.checkpoints.restore(abstract_state(run.algorithm, run.layout), run.display.warn)
    if restored is not None:
        return *restored, None
    weights, origin = read_weights(init_from) if init_from else (None, None)
    key = run.layout.replicate_keys(*(keys.init for keys in run.keys))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        # XLA compiles the first state while Python traces the training.
        initial = pool.submit(init_state, run.algorithm, key, run.layout)
        _compile_first_call(run)
        state = initial.result()
    return state if weights is None else with_weights(state, weights, run.layout, origin), 0, origin


def _compile_first_call(run: Run) -> None:
    """Compiles what the first call of a new run then finds in jax's cache."""
    training, (_, *shape) = run.config.training, run.dataset.images.shape
    first, last = call_bounds(0, _next_stop(run, 0), training.iterations_per_call)[0]
    batch = (last - first, training.discriminator_steps, training.batch_size)
    batch = (len(run.seeds), *batch) if run.several_seeds else batch

    abstract = functools.partial(jax.ShapeDtypeStruct, sharding=run.layout.examples)
    labels = abstract(batch, np.int32) if run.algorithm.needs_labels else None
    examples = Examples(abstract((*batch, *shape), np.uint8), labels)
    program = compile_train_iterations(run.algorithm, run.layout)
    program.lower(abstract_state(run.algorithm, run.layout), examples, run.noise_key).compile()


def _write_facts(run: Run) -> None:
    if is_writer():
        # Before any other file, so that a folder with anything of a run in it says whose it is.
        write_facts(run.workdir, settings_of(run.config), run.dataset.facts())
        data = run.dataset
        save_contact_sheet(run.workdir / "data.png", data.images, data.labels, data.class_names, data.name)


def _next_stop(run: Run, iteration: int) -> int:
    config = run.config
    return next_stop(iteration, config.training.iterations, config.evaluation.every, config.checkpoints.every)


def _given_labels(run: Run) -> np.ndarray | None:
    """Returns the labels that the discriminator sees: the true ones, those of the warm start, or none.

    Those of the warm start are made once and kept in a file: rounding can change a map, and the order of its clusters.
    """
    if not run.algorithm.warm_start:
        return run.dataset.labels if run.algorithm.conditional else None
    path = run.workdir / WARM_LABELS
    labels = from_writer(np.load(path) if path.exists() else make_warm_labels(run.config, run.dataset.images))
    if is_writer() and not path.exists():
        with replace_file(path) as file:
            np.save(file, labels)
    return labels


def _make_loader(run: Run, placement: str) -> DeviceLoader | StreamLoader:
    training = run.config.training
    kind = {"device": DeviceLoader, "stream": StreamLoader}[placement]
    keys = [keys.data for keys in run.keys]
    labels, steps = _given_labels(run), training.discriminator_steps
    return kind(run.dataset.images, labels, keys, steps, training.batch_size, run.layout)


def _train(run: Run, placement: str, state: TrainState, iteration: int) -> tuple[TrainState, int]:
    """Trains to the end, or to the call in which SIGTERM came; what is returned is saved."""
    config, total, every = run.config, run.config.training.iterations, run.config.checkpoints.every
    facts = {"config": settings_of(config), "versions": versions()}
    program, loader = compile_train_iterations(run.algorithm, run.layout), _make_loader(run, placement)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(run.checkpoints))
        log, cost = None, functools.partial(_describe_cost, run, _count_bytes(state), iteration)
        if is_writer():
            log = RunLog(run.workdir, iteration, run.several_seeds, tensorboard=config.logging.tensorboard)
            stack.enter_context(contextlib.closing(log))
        progress = stack.enter_context(run.display.training(total, iteration, cost))
        stop_requested = stack.enter_context(stop_requests())
        images, key, warn = run.dataset.images, run.keys[0].evaluation, run.display.warn
        monitor = Monitor(config, run.algorithm.model, run.layout, images, key, iteration, log, warn)
        while iteration < total:
            stop, per_call = _next_stop(run, iteration), config.training.iterations_per_call
            calls = iterate(program, loader, run.noise_key, state, iteration, stop, per_call)
            state, iteration = _watch(run, calls, monitor, progress, stop_requested)
            score = None
            scored = config.evaluation.every and iteration % config.evaluation.every == 0
            if scored and (iteration < total or config.checkpoints.best):
                score = _score(run, state, iteration, log, progress)
            stopping = iteration == total or stop_requested()
            if stopping or score is not None or (every and iteration % every == 0):
                run.checkpoints.save(state, iteration, facts, score)
            if stopping:
                break
    return state, iteration


def _watch(
    run: Run, calls: Iterator, monitor: Monitor, progress: TrainingProgress, stop_requested: Callable[[], bool]
) -> tuple[TrainState, int]:
    """Follows calls to their end or to a request to stop; metrics of one are read while the next one runs."""
    pending = None
    for state, iteration, metrics in calls:
        if pending is not None:
            _report(run, monitor, progress, *pending)
        pending = iteration, metrics, monitor.observe(iteration, state, metrics)
        if stop_requested():
            break
    _report(run, monitor, progress, *pending)
    return state, iteration


def _report(
    run: Run, monitor: Monitor, progress: TrainingProgress, iteration: int, metrics: dict[str, Any], observed: tuple
) -> None:
    metrics = {name: np.asarray(values) for name, values in metrics.items()}
    check_finite(iteration, metrics, run.several_seeds)
    progress.advance(iteration, {name: float(np.mean(values[..., -1])) for name, values in metrics.items()})
    monitor.write(iteration, observed)


def _score(run: Run, state: TrainState, iteration: int, log: RunLog | None, progress: TrainingProgress) -> float | None:
    """Scores the clusters of every seed; returns the mean of the score that chooses the best checkpoint, if any."""
    images, labels = run.dataset.images[run.chosen], run.dataset.labels
    labels, best, compared = None if labels is None else labels[run.chosen], run.config.checkpoints.best, []
    for index, (seed, weights) in enumerate(run.split(state)):
        model, batch_size = run.algorithm.model, run.config.evaluation.batch_size
        scores, _ = evaluate_clustering(model, weights, images, labels, batch_size)
        log.write(iteration, scores, index)
        progress.scores(iteration, scores, seed if run.several_seeds else None)
        if best:
            compared.append(scores[best])
    if not best:
        return None
    return from_writer(sum(compared) / len(compared) if compared and None not in compared else -math.inf)


def _conclude(run: Run, state: TrainState, **facts: Any) -> dict[str, Any] | None:
    """Scores and draws every seed, and writes the results; on the first process."""
    config, dataset, scored, encodings = run.config, run.dataset, [], []
    facts = {
        "iterations": config.training.iterations,
        "num_seeds": config.num_seeds,
        "data": {name: getattr(dataset, name) for name in ("name", "version", "split")},
        "machine": describe_machine(),
        "versions": versions(),
        **facts,
        "best_checkpoint": run.checkpoints.best,
    }
    labels = None if dataset.labels is None else dataset.labels[run.chosen]
    sample = Examples(dataset.images[run.chosen], labels)
    for seed, weights in run.split(state):
        options = {"iteration": config.training.iterations, "seed": seed, "batch_size": config.evaluation.batch_size}
        trained, folder = TrainedModel(config, run.algorithm.model, weights, **options), run.folder(seed)
        folder.mkdir(exist_ok=True)
        evaluation = evaluate(trained, dataset, run.chosen)
        draw_pictures(trained, sample, evaluation.clusters, dataset.class_names, folder)
        encodings.append(evaluation.encoding)
        scored.append({**describe(trained), **facts, **evaluation.scores})
        write_json(folder / "results.json", scored[-1])
    if not scored:
        return None
    results = scored[0]
    if run.several_seeds:
        short = [{name: value for name, value in scores.items() if name not in LONG_SCORES} for scores in scored]
        members = [{name: value for name, value in scores.items() if name not in facts} for scores in short]
        results = {"seed": config.seed, "variant": config.variant, **facts}
        results |= {"members": members, **over_seeds(members)}
        # Without labels: see `compare_runs`.
        results["selection"] = compare_runs(encodings)
        results["selected_seed"] = members[choose_run(results["selection"])]["seed"]
        write_json(run.workdir / "results.json", results)
    run.display.conclude(results, len(dataset.images), run.workdir)
    return results
