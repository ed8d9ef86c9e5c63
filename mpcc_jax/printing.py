"""What training prints in the terminal: the run, the data, a progress bar, the scores."""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import chex
import jax
from ml_collections import ConfigDict
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mpcc_jax.config import resolve_augmentation, resolve_warm_start
from mpcc_jax.data.dataset import Dataset
from mpcc_jax.errors import printable
from mpcc_jax.training.sharding import Layout
from mpcc_jax.workdir import describe_machine

MEASURED_CALLS = 4  # of which the first one compiles
READING_PATIENCE = 5.0  # seconds between lines off a terminal
SHOWN_METRICS = {
    "discriminator_loss_real": "D real",
    "discriminator_loss_fake": "D fake",
    "generator_loss": "G",
    "encoder_nll": "L_q",
    "membership_cross_entropy": "L_c",
    "prior_negative_entropy": "L_p",
    "information": "I",
}
SCORES = {
    "accuracy_many_to_one": "accuracy, many to one (Eq. 11)",
    "accuracy_one_to_one": "accuracy, one to one",
    "nmi": "normalised mutual information",
    "ami": "adjusted mutual information",
    "ari": "adjusted Rand index",
    "mean_confidence": "mean confidence",
    "silhouette": "silhouette of the latents",
    "prior_overlap": "overlap of the prior's closest components",
    "reconstruction_mse": "reconstruction MSE, pixels in [-1, 1]",
    "latent_mse": "latent MSE, summed over J",
    "generated_cluster_accuracy": "components of generated images found again",
}


def table(title: str, facts: dict[str, Any]) -> Table:
    """Returns facts under a title."""
    rows = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
    rows.add_column(no_wrap=True)
    rows.add_column(overflow="fold")
    for heading, text in facts.items():
        rows.add_row(f"[bold]{heading}", escape(printable(str(text))))
    return rows


def describe_scores(scores: dict[str, Any]) -> dict[str, str]:
    """Returns the scores of one model as lines for people."""
    facts = {text: f"{scores[name]:.4f}" for name, text in SCORES.items() if scores.get(name) is not None}
    bound = math.log(len(scores["cluster_sizes"]))
    facts["cluster entropy"] = f"{scores['cluster_entropy']:.3f} nats of at most {bound:.3f}"
    if scores["empty_clusters"]:
        facts["empty clusters"] = str(scores["empty_clusters"])
    return facts


def _describe_seeds(results: dict[str, Any]) -> dict[str, str]:
    members, mean, sd = results["members"], results["mean"], results["sd"]
    titles = {**SCORES, "cluster_entropy": "cluster entropy (nats)", "empty_clusters": "empty clusters"}
    facts = {"seeds": ", ".join(str(scores["seed"]) for scores in members)}
    for name, text in titles.items():
        if name in mean:
            values = ", ".join(f"{scores[name]:.4g}" for scores in members)
            facts[text] = f"{mean[name]:.4f} ± {sd[name]:.4f}  ({values})"
    if "selected_seed" in results:
        chosen = next(scores for scores in members if scores["seed"] == results["selected_seed"])
        facts["selected without labels"] = f"seed {chosen['seed']}" + (
            f", accuracy {chosen['accuracy_many_to_one']:.4f} (of {len(members)} runs)"
            if "accuracy_many_to_one" in chosen
            else f" of {len(members)}"
        )
    return facts


class Display:
    """Prints a run. On a terminal the progress is a live bar, elsewhere a line every tenth of the way."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False):
        """Prints to a rich console, by default standard output; `quiet` prints nothing."""
        self.console = console or Console(highlight=False, quiet=quiet)

    def line(self, text: str) -> None:
        """Prints a line as it is."""
        self.console.print(printable(text), markup=False, soft_wrap=True)

    def warn(self, sentence: str) -> None:
        """Prints what a person should know, though the run goes on."""
        self.console.print(f"[bold yellow]warning:[/] {escape(printable(sentence))}", soft_wrap=True)

    @contextlib.contextmanager
    def reading(self, what: str = "reading images") -> Iterator[Callable[[int, int], None]]:
        """Shows how far work on many images is while it is open; yields a function of (done, total)."""
        bar = Progress(
            TextColumn(f"{escape(what)} {{task.completed}}/{{task.total}}"),
            BarColumn(bar_width=24),
            TimeElapsedColumn(),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        started, lines, task = time.monotonic(), 0, None

        def progress(done, total):
            nonlocal lines, task
            task = bar.add_task("", total=total) if task is None else task
            bar.update(task, completed=done)
            if not self.console.is_terminal and time.monotonic() - started > READING_PATIENCE * (1 + lines):
                lines += 1
                self.line(f"{what}: {done}/{total}")

        with bar:
            yield progress

    def data(self, dataset: Dataset, seconds: float, **more: str) -> None:
        """Prints the data card."""
        self.console.print(table("Data", {**dataset.card(), "loaded in": f"{seconds:.3f} s", **more}))

    def introduce(
        self,
        config: ConfigDict,
        workdir: Path,
        layout: Layout,
        dataset: Dataset,
        seconds: float,
        placement: str,
        start: int,
        origin: Path | None,
    ) -> None:
        """Prints machine, settings and data card; `origin` is the run that the weights are from, if another."""
        training, mesh = config.training, layout.mesh
        seeds = f"seeds {config.seed} to {config.seed + config.num_seeds - 1} at once"
        facts = {
            "machine": describe_machine(),
            "variant": config.variant,
            "network": f"C = {config.model.channels}, J = {config.model.latent_dim}, K = {config.model.num_clusters}, "
            f"{config.model.conditioning}",
            "training": f"{training.iterations} iterations of {training.discriminator_steps} D + 1 G + "
            f"{training.encoder_steps} E steps, batch {training.batch_size}, "
            + (f"seed {config.seed}" if config.num_seeds == 1 else seeds),
            "workdir": workdir,
        }
        if mesh.size > 1 or layout.advice:
            groups = f", {mesh.shape['seed']} groups of them for the seeds" if mesh.shape["seed"] > 1 else ""
            facts["devices"] = f"{mesh.shape['batch']} for every batch{groups}"
        if layout.advice:
            facts["devices"] += f" ({mesh.size} of {len(jax.devices())}; to use all set {layout.advice})"
        if start:
            facts["resumed"] = f"after {start} iterations"
        if origin:
            facts["weights from"] = origin
        self.console.print(table("Run", facts))
        size = f"{dataset.images.nbytes / 2**20:.0f} MiB"
        where = {"device": f"{size} in the device's memory", "stream": f"{size} streamed from disk or host memory"}
        chosen = resolve_augmentation(config)
        amounts = ", ".join(f"{name} {value}" for name, value in chosen.items() if value)
        more = {"augmentation": amounts} if chosen["probability"] else {}
        if warm_start := resolve_warm_start(config):
            more["warm start"] = f"{warm_start} iterations from {config.training.warm_labels}"
        self.data(dataset, seconds, placement=where[placement], **more)

    def parameters(self, params: chex.ArrayTree, num_seeds: int = 1) -> None:
        """Prints how many parameters each network has."""
        counts = {part: sum(leaf.size for leaf in jax.tree.leaves(tree)) for part, tree in params.items()}
        self.line("parameters: " + ", ".join(f"{part} {count // num_seeds:,}" for part, count in counts.items()))

    @contextlib.contextmanager
    def training(self, total: int, start: int, describe_cost: Callable[[float], str]) -> Iterator["TrainingProgress"]:
        """Shows progress while it is open; `describe_cost` gives a line for the first iterations per second."""
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
            yield TrainingProgress(self, bar, total, start, describe_cost)

    def interrupted(self, iteration: int, total: int, workdir: Path) -> None:
        """Prints that a run stopped early, and how it goes on."""
        self.line(
            f"stopped by SIGTERM after {iteration} of {total} iterations; the same command goes on from there "
            f"({workdir}/checkpoints)"
        )

    def already_finished(self, workdir: Path) -> None:
        """Prints that there is nothing to train."""
        self.line(
            f"the run in {workdir} is finished already: results.json and pictures are there. Train longer by a higher "
            "--config.training.iterations, or choose another --workdir."
        )

    def conclude(self, results: dict[str, Any], count: int, workdir: Path) -> None:
        """Prints the scores, and where the pictures are; the data has `count` images."""
        facts = _describe_seeds(results) if "members" in results else describe_scores(results)
        if "cluster_sizes" in results:
            facts["cluster sizes"] = ", ".join(map(str, results["cluster_sizes"]))
        sample = results.get("members", [results])[0]["evaluated_images"]
        if sample < count:
            facts["scored on"] = (
                f"{sample} of {count} images, drawn at random (all of them by --config.evaluation.num_images={count})"
            )
        if results["best_checkpoint"] is not None:
            facts["best checkpoint"] = f"of iteration {results['best_checkpoint']}"
        facts["training time"] = f"{results['training_seconds']:.0f} s, compilation included"
        facts["pictures"] = ", ".join(map(str, sorted([*workdir.glob("*.png"), *workdir.glob("seed_*/*.png")])))
        self.console.print(table("Result", facts))


class TrainingProgress:
    """Progress of one training run."""

    def __init__(self, display: Display, bar: Progress, total: int, start: int, describe_cost: Callable[[float], str]):
        """Draws into a rich progress, which is disabled off a terminal."""
        self._display, self._bar, self._total, self._describe_cost = display, bar, total, describe_cost
        self._task = bar.add_task("", total=total, completed=start, rate="compiling", losses="")
        self._mark, self._calls = None, 0
        self._printed = start * 10 // total

    def _rate(self, iteration: int) -> str:
        """Iterations per second since the first call, which compiles."""
        now = time.monotonic()
        self._calls += 1
        if self._mark is None:
            self._mark = (iteration, now)
            return "compiled"
        rate = (iteration - self._mark[0]) / max(now - self._mark[1], 1e-9)
        if self._calls == MEASURED_CALLS:
            self._display.line(self._describe_cost(rate))
        return f"{rate:.1f} it/s"

    def advance(self, iteration: int, metrics: dict[str, float]) -> None:
        """Shows the newest metrics."""
        rate = self._rate(iteration)
        losses = " ".join(f"{text} {metrics[name]:.2f}" for name, text in SHOWN_METRICS.items())
        self._bar.update(self._task, completed=iteration, rate=rate, losses=losses)
        tenth = iteration * 10 // self._total
        if not self._display.console.is_terminal and tenth > self._printed:
            self._printed = tenth
            self._display.line(f"{iteration:>6}/{self._total}  {rate}  {losses}")

    def scores(self, iteration: int, scores: dict[str, Any], seed: int | None = None) -> None:
        """Prints an evaluation on the way."""
        text = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if isinstance(value, float))
        which = f"iteration {iteration}" if seed is None else f"iteration {iteration}, seed {seed}"
        self._display.line(f"{which}: {text or scores}")
