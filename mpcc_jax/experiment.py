"""A whole run: check, load, train, score, draw."""

import dataclasses
import json
import os
import pathlib
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np

from mpcc_jax import report
from mpcc_jax.config import validate, validate_data
from mpcc_jax.console import Display
from mpcc_jax.data import load_dataset, prepare_dataset
from mpcc_jax.data.loaders import DeviceLoader, StreamLoader, choose_placement
from mpcc_jax.data.sampler import Examples, to_float
from mpcc_jax.evaluation.networks import generate_images, reconstruct_images, standing_statistics
from mpcc_jax.evaluation.scores import choose_sample, score
from mpcc_jax.training.loop import Trainer
from mpcc_jax.training.noise import draw_latents
from mpcc_jax.training.state import build_algorithm, init_state


class WorkdirError(OSError):
    """A working directory that cannot be written; the message says which and why."""


def prepare_workdir(workdir):
    """Makes the directory of a run and checks that files can be written there.

    Args:
      workdir: path.

    Returns:
      `pathlib.Path`.

    Raises:
      WorkdirError: if it cannot be made or written.
    """
    path = pathlib.Path(workdir).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise WorkdirError(f"--workdir is {str(workdir)!r}, which cannot be written ({error.strerror}).") from error
    return path


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


def _write_json(path, content):
    """Writes beside and renames, so that a kill leaves the old file or the new one."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(partial, path)


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


def train(config, workdir, display=None, dataset=None):
    """Trains, scores and draws as a configuration says.

    Writes config.json, data.json, data.png, metrics.jsonl, results.json, clusters.png and reconstructions.png into the
    working directory.

    Args:
      config: the configuration.
      workdir: path of a directory; made if missing.
      display: a `Display`; None makes one.
      dataset: a `Dataset`, for example from `mpcc_jax.data.from_arrays`; None loads the one that is configured.

    Returns:
      The `Algorithm`, the final `TrainState`, and the results as written.

    Raises:
      ConfigError, DataError, WorkdirError: before anything is compiled.
      NonFiniteError: if a loss became NaN or infinite.
    """
    display = display or Display()
    validate(config)
    dataset, loading_seconds = load(config, display, dataset)
    workdir = prepare_workdir(workdir)
    _write_json(workdir / "config.json", json.loads(config.to_json_best_effort()))
    _write_json(workdir / "data.json", dataset.facts())
    report.save_contact_sheet(workdir / "data.png", dataset.images, dataset.labels, dataset.class_names, dataset.name)

    keys = split_seed(config.seed)
    algorithm = build_algorithm(config, dataset.images.shape[-1])
    state = init_state(algorithm, keys.init)
    placement = choose_placement(config.data.placement, dataset.images.nbytes)
    display.introduce(config, dataset, loading_seconds, placement, state.params, workdir)

    training = config.training
    seen = training.iterations * training.discriminator_steps * training.batch_size
    chosen = choose_sample(len(dataset.images), seen, config.evaluation.num_images)
    sample = Examples(dataset.images[chosen], None if dataset.labels is None else dataset.labels[chosen])

    started = time.monotonic()
    state = _train(config, algorithm, state, _loader(config, dataset, placement, keys), sample, keys, workdir, display)
    seconds = time.monotonic() - started
    scores, clusters = score(algorithm.model, state, *sample, config.evaluation.batch_size)

    results = {
        "iterations": training.iterations,
        "seed": config.seed,
        "variant": config.variant,
        "data": {name: getattr(dataset, name) for name in ("name", "version", "split")},
        "training_seconds": round(seconds, 1),
        **scores,
    }
    draw_pictures(config, algorithm, state, sample, clusters, dataset.class_names, keys.evaluation, workdir)
    _write_json(workdir / "results.json", results)
    display.conclude(results, len(dataset.images), workdir)
    return algorithm, state, results


def _loader(config, dataset, placement, keys):
    labels = dataset.labels if config.training.conditional else None
    kind = {"device": DeviceLoader, "stream": StreamLoader}[placement]
    return kind(dataset.images, labels, keys.data, config.training.discriminator_steps, config.training.batch_size)


def _train(config, algorithm, state, loader, sample, keys, workdir, display):
    trainer = Trainer(algorithm, loader, keys.noise, config.training.iterations_per_call)
    total, every = config.training.iterations, config.evaluation.every or config.training.iterations
    with open(workdir / "metrics.jsonl", "w") as log, display.training(total) as progress:

        def record(iteration, metrics):
            latest = {name: float(values[-1]) for name, values in metrics.items()}
            log.write(json.dumps({"iteration": iteration, **latest}) + "\n")
            log.flush()
            progress.advance(iteration, latest)

        for start in range(0, total, every):
            stop = min(start + every, total)
            state = trainer.run(state, start, stop, record)
            if stop < total:
                scores, _ = score(algorithm.model, state, *sample, config.evaluation.batch_size)
                log.write(json.dumps({"iteration": stop, **scores}) + "\n")
                progress.scores(stop, scores)
    return state


def draw_pictures(config, algorithm, state, sample, clusters, class_names, key, workdir):
    """Writes the cluster sheet and the reconstructions, by the EMA generator with standing statistics.

    Args:
      config: the configuration.
      algorithm: the `Algorithm`.
      state: the `TrainState`.
      sample: `Examples`, real images to describe and reconstruct.
      clusters: of the sample.
      class_names: one per class, or None.
      key: PRNG key.
      workdir: `pathlib.Path`.
    """
    model, settings = algorithm.model, config.evaluation
    num_clusters, count = model.prior.num_components, settings.samples_per_cluster
    statistics_key, latents_key = jax.random.split(key)
    buffers = standing_statistics(model, state, statistics_key, settings.standing_passes, config.training.batch_size)
    y = jnp.repeat(jnp.arange(num_clusters), count)
    eps = draw_latents(latents_key, y.shape, model.prior).eps
    z = model.prior.sampling(state.params["prior"]).sample(y, eps)
    sheet = generate_images(model, state, buffers, z, y).reshape(num_clusters, count, *model.image_shape)
    descriptions = report.describe_clusters(clusters, num_clusters, sample.labels, class_names)
    report.save_cluster_sheet(workdir / "clusters.png", sheet, descriptions)

    pairs = max(count // 2, 1)
    occupied = [cluster for cluster in range(num_clusters) if (clusters == cluster).any()]
    # A cluster of fewer images than a row has places repeats them.
    chosen = np.concatenate([np.resize(np.flatnonzero(clusters == cluster), pairs) for cluster in occupied])
    originals = sample.images[chosen]
    decoded = reconstruct_images(model, state, buffers, originals, settings.batch_size)
    shape = (len(occupied), pairs, *model.image_shape)
    report.save_reconstructions(
        workdir / "reconstructions.png",
        np.asarray(to_float(originals)).reshape(shape),
        decoded.reshape(shape),
        [f"cluster {cluster}" for cluster in occupied],
    )
