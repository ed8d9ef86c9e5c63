"""What a person sees in the terminal: the machine, the data, the model, a progress bar, the scores."""

import contextlib
import importlib.metadata
import math
import time

import jax
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mpcc_jax.training.state import state_shapes

READING_PATIENCE = 5.0  # seconds between lines off a terminal
SHOWN_METRICS = {
    "discriminator_loss_real": "D real",
    "discriminator_loss_fake": "D fake",
    "generator_loss": "G",
    "encoder_nll": "L_q",
    "membership_cross_entropy": "L_c",
    "prior_negative_entropy": "L_p",
}

SCORES = {
    "accuracy_many_to_one": "accuracy, many to one (Eq. 11)",
    "accuracy_one_to_one": "accuracy, one to one",
    "nmi": "normalised mutual information",
    "ari": "adjusted Rand index",
    "mean_confidence": "mean confidence",
    "silhouette": "silhouette of the latents",
}


def versions():
    """Versions of what numbers depend on.

    Returns:
      By name of the package.
    """
    return {name: importlib.metadata.version(name) for name in ("jax", "flax", "optax")}


def describe_machine():
    """Devices and versions.

    Returns:
      One line of text.
    """
    devices = jax.devices()
    named = ", ".join(f"{name} {version}" for name, version in versions().items())
    processes = f" of {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(devices)} x {devices[0].device_kind} ({jax.default_backend()}){processes}, {named}"


def table(title, facts):
    """Facts under a title.

    Args:
      title: text.
      facts: texts by heading.

    Returns:
      A `rich.table.Table`.
    """
    rows = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for heading, text in facts.items():
        rows.add_row(f"[bold]{heading}", str(text))
    return rows


class Display:
    """Prints a run. On a terminal the progress is a live bar, elsewhere a line every tenth of the way.

    Attributes:
      console: the rich console.
    """

    def __init__(self, console=None, *, quiet=False):
        """Args: console: a rich console; None is standard output. quiet: whether to print nothing."""
        self.console = console or Console(highlight=False, quiet=quiet)

    @contextlib.contextmanager
    def reading(self, what="reading images"):
        """Shows how far work on many images is while it is open; nothing if it is over at once.

        Args:
          what: the work.

        Yields:
          Function of (images done, of how many).
        """
        bar = Progress(
            TextColumn(f"{what} {{task.completed}}/{{task.total}}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        started, state = time.monotonic(), {"task": None, "printed": 0}

        def report(done, total):
            if state["task"] is None:
                state["task"] = bar.add_task("", total=total)
            bar.update(state["task"], completed=done)
            seconds = time.monotonic() - started
            if not self.console.is_terminal and seconds > READING_PATIENCE * (1 + state["printed"]):
                state["printed"] += 1
                self.console.print(f"{what}: {done}/{total}", soft_wrap=True)

        with bar:
            yield report

    def data(self, dataset, seconds, **more):
        """Prints the data card.

        Args:
          dataset: the `Dataset`.
          seconds: that loading took.
          **more: texts by heading.
        """
        self.console.print(table("Data", {**dataset.card(), "loaded in": f"{seconds:.3f} s", **more}))

    def warn(self, sentence):
        """Prints what a person should know, though the run goes on.

        Args:
          sentence: of text.
        """
        self.console.print(f"[bold yellow]warning:[/] {escape(sentence)}", soft_wrap=True)

    def interrupted(self, done, total, workdir):
        """Prints that a run stopped early, and how it goes on.

        Args:
          done, total: iterations.
          workdir: where the checkpoint is.
        """
        self.console.print(
            f"stopped by SIGTERM after {done} of {total} iterations; the same command goes on from there "
            f"({workdir}/checkpoints)",
            soft_wrap=True,
        )

    def introduce(self, run, seconds, placement, start=0, origin=None):
        """Prints machine, settings, data card and parameter overview.

        Args:
          run: the `Run`.
          seconds: that loading took.
          placement: "device" or "stream".
          start: iterations that a resumed run has already.
          origin: of the weights that it starts from, if they are another run's.
        """
        from clu import parameter_overview

        config, dataset, mesh = run.config, run.dataset, run.layout.mesh
        training, seeds = config.training, run.seeds
        facts = {
            "machine": describe_machine(),
            "variant": config.variant,
            "network": f"C = {config.model.channels}, J = {config.model.latent_dim}, K = {config.model.num_clusters}, "
            f"{config.model.conditioning}",
            "training": f"{training.iterations} iterations of {training.discriminator_steps} D + 1 G + "
            f"{training.encoder_steps} E steps, batch {training.batch_size}, "
            + (f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]} at once"),
            "workdir": run.workdir,
        }
        if mesh.size > 1:
            facts["devices"] = f"{mesh.shape['batch']} for every batch" + (
                f", {mesh.shape['seed']} groups of them for the seeds" if mesh.shape["seed"] > 1 else ""
            )
        if start:
            facts["resumed"] = f"after {start} iterations"
        if origin:
            facts["weights from"] = origin
        self.console.print(table("Run", facts))
        augmentation = [f"crops of a {config.data.crop_padding} px border"] if config.data.crop_padding else []
        augmentation += ["mirroring"] if config.data.flip else []
        size = f"{dataset.images.nbytes / 2**20:.0f} MiB"
        where = {"device": f"{size} in the device's memory", "stream": f"{size} streamed from disk or host memory"}
        more = {"augmentation": ", ".join(augmentation)} if augmentation else {}
        self.data(dataset, seconds, placement=where[placement], **more)
        params = state_shapes(run.algorithm).params
        overview = parameter_overview.get_parameter_overview(params, include_stats=False)
        self.console.print("Parameters", overview, sep="\n", markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def training(self, total, start=0):
        """Shows progress while it is open.

        Args:
          total: iterations.
          start: iterations that are done already.

        Yields:
          A `TrainingProgress`.
        """
        bar = Progress(
            TextColumn("{task.completed:>6}/{task.total}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        with bar:
            yield TrainingProgress(self.console, bar, total, start)

    def conclude(self, results, count, workdir):
        """Prints the scores and where the pictures are.

        Args:
          results: as written to results.json.
          count: images in the data set.
          workdir: `pathlib.Path`.
        """
        facts = self._seed_facts(results) if "members" in results else self._single_facts(results)
        sample = results.get("members", [results])[0]["evaluated_images"]
        if sample < count:
            facts["scored on"] = (
                f"{sample} of {count} images, drawn at random (all of them by --config.evaluation.num_images={count})"
            )
        if results["best_checkpoint"] is not None:
            facts["best checkpoint"] = f"of iteration {results['best_checkpoint']}"
        facts["training time"] = f"{results['training_seconds']:.0f} s, compilation included"
        pictures = sorted([*workdir.glob("*.png"), *workdir.glob("seed_*/*.png")])
        facts["pictures"] = ", ".join(map(str, pictures))
        self.console.print(table("Result", facts))

    @staticmethod
    def _single_facts(results):
        facts = {text: f"{results[name]:.4f}" for name, text in SCORES.items() if results.get(name) is not None}
        sizes = results["cluster_sizes"]
        facts["cluster entropy"] = f"{results['cluster_entropy']:.3f} nats of at most {math.log(len(sizes)):.3f}"
        if results["empty_clusters"]:
            facts["empty clusters"] = str(results["empty_clusters"])
        return {**facts, "cluster sizes": ", ".join(map(str, sizes))}

    @staticmethod
    def _seed_facts(results):
        members, mean, sd = results["members"], results["mean"], results["sd"]
        names = {**SCORES, "cluster_entropy": "cluster entropy (nats)", "empty_clusters": "empty clusters"}
        facts = {"seeds": ", ".join(str(scores["seed"]) for scores in members)}
        for name, text in names.items():
            if name in mean:
                every = ", ".join(f"{scores[name]:.4g}" for scores in members)
                facts[text] = f"{mean[name]:.4f} ± {sd[name]:.4f}  ({every})"
        return facts


class TrainingProgress:
    """Progress of one training run."""

    def __init__(self, console, bar, total, start):
        """Args: console; bar: the rich progress, disabled off a terminal; total, start: iterations."""
        self._console, self._bar, self._total = console, bar, total
        self._task = bar.add_task("", total=total, completed=start, rate="compiling", losses="")
        self._mark = None
        self._printed = start * 10 // total

    def _rate(self, iteration):
        """Iterations per second since the first call, which compiles."""
        now = time.monotonic()
        if self._mark is None:
            self._mark = (iteration, now)
            return "compiled"
        return f"{(iteration - self._mark[0]) / max(now - self._mark[1], 1e-9):.1f} it/s"

    def advance(self, iteration, metrics):
        """Shows the newest metrics.

        Args:
          iteration: finished iterations.
          metrics: floats by name.
        """
        rate = self._rate(iteration)
        losses = " ".join(f"{text} {metrics[name]:.2f}" for name, text in SHOWN_METRICS.items())
        self._bar.update(self._task, completed=iteration, rate=rate, losses=losses)
        tenth = iteration * 10 // self._total
        if not self._console.is_terminal and tenth > self._printed:
            self._printed = tenth
            self._console.print(f"{iteration:>6}/{self._total}  {rate}  {losses}", soft_wrap=True)

    def scores(self, iteration, scores, seed=None):
        """Prints an evaluation on the way.

        Args:
          iteration: finished iterations.
          scores: by name.
          seed: of the run, if there are several.
        """
        text = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if isinstance(value, float))
        which = f"iteration {iteration}" if seed is None else f"iteration {iteration}, seed {seed}"
        self._console.print(f"{which}: {text or scores}", soft_wrap=True)
