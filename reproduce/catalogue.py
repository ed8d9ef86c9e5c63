"""The paper's tables as data: rows, measures, configurations, and the published figures (section 5)."""

import dataclasses
import pathlib
from typing import NamedTuple

from reproduce.arms import ARMS

CONFIGS = pathlib.Path(__file__).parents[2] / "configs"


class Published(NamedTuple):
    """A figure of the paper: mean over runs, and spread as printed behind its plus-minus sign."""

    mean: float
    sd: float


@dataclasses.dataclass(frozen=True)
class Measure:
    """A column of the paper.

    Attributes:
      heading: what it is called, with its unit.
      score: its name among the scores of a run.
      factor: from the score to the unit.
      best: over how many of the runs with the highest accuracy; 0 is over all.
      comparable: whether the paper's figure is of the same quantity.
    """

    heading: str
    score: str
    factor: float = 1.0
    best: int = 0
    comparable: bool = True


MEASURES = {
    "accuracy": Measure("accuracy (Eq. 11), %", "accuracy_many_to_one", 100.0),
    "best_three": Measure("accuracy, best three of five, %", "accuracy_many_to_one", 100.0, best=3),
    "inception_score": Measure("Inception Score", "inception_score"),
    "fid": Measure("FID", "fid"),
    "mse": Measure("MSE, 1e-3", "reconstruction_mse", 1e3, comparable=False),
}
# The best three of so many.
RUNS = 5


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table: one experiment.

    Attributes:
      name: of the experiment, in working directories and file names; rows that share it share its runs.
      label: as the table has it.
      config: `pathlib.Path` of its configuration.
      published: `Published` by name of the measure; empty where the paper has none.
      iterations: as published; None where the paper has no such experiment.
    """

    name: str
    label: str
    config: pathlib.Path
    published: dict
    iterations: int | None


@dataclasses.dataclass(frozen=True)
class Table:
    """What is run and reported together.

    Attributes:
      name: on the command line.
      title: what it shows.
      measures: names in `MEASURES`.
      rows: of `Row`.
      arms: that are run unless others are asked for; see `reproduce.arms`.
      shown: arms that it has a place for.
    """

    name: str
    title: str
    measures: tuple
    rows: tuple
    arms: tuple = ("paper",)
    shown: tuple = ("paper", "released")

    @property
    def generation(self):
        """Whether it reports the quality of generated images."""
        return "fid" in self.measures


def _published(**figures):
    return {name: Published(*figure) for name, figure in figures.items()}


def _ablation(row, steps, rate, **figures):
    name = f"table1_row{row}"
    label = f"E_steps {steps}, η_p {rate}"
    return Row(name, label, CONFIGS / "tables" / f"{name}.py", _published(**figures), 75_000)


def _clustering(name, label, iterations, accuracy, best_three):
    figures = _published(accuracy=accuracy, best_three=best_three)
    return Row(name, label, CONFIGS / f"{name}.py", figures, iterations)


def _variation(name, label, **figures):
    return Row(name, label, CONFIGS / "tables" / f"{name}.py", _published(**figures), 75_000)


ABLATION = (
    _ablation(1, 1, "2e-4", accuracy=(41.31, 5.74), inception_score=(8.82, 0.07), fid=(11.38, 0.23), mse=(1.34, 0.96)),
    _ablation(2, 2, "2e-4", accuracy=(38.67, 3.52), inception_score=(9.02, 0.05), fid=(9.66, 3.98), mse=(1.01, 1.11)),
    _ablation(3, 4, "2e-4", accuracy=(38.27, 2.46), inception_score=(9.25, 0.09), fid=(7.50, 0.43), mse=(0.331, 0.09)),
    _ablation(4, 4, "4e-4", accuracy=(52.58, 5.30), inception_score=(9.44, 0.06), fid=(6.55, 0.33), mse=(0.48, 0.22)),
    _ablation(5, 4, "6e-4", accuracy=(61.99, 4.96), inception_score=(9.49, 0.15), fid=(6.59, 0.45), mse=(1.04, 1.03)),
)
BEST = ABLATION[-1]
DIGITS = Row("digits", "digits (scikit-learn)", CONFIGS / "digits.py", {}, None)
CLUSTERING = (
    DIGITS,
    _clustering("mnist", "MNIST", 125_000, (98.48, 0.52), (98.76, 0.03)),
    _clustering("omniglot100", "Omniglot", 125_000, (65.87, 1.46), (66.95, 0.62)),
    _clustering("fashion_mnist", "Fashion-MNIST", 75_000, (62.56, 4.16), (64.99, 2.22)),
    _clustering("cifar10", "CIFAR-10", 75_000, (64.25, 5.31), (67.73, 2.50)),
    _clustering("cifar20", "CIFAR-20", 75_000, (35.21, 1.69), (36.51, 0.71)),
)
TABLES = {
    "table1": Table(
        "table1",
        "Table 1: encoder steps and learning rate of the prior, CIFAR-10",
        ("accuracy", "inception_score", "fid", "mse"),
        ABLATION,
    ),
    "table2": Table(
        "table2",
        "Table 2: mixture prior and normal prior (AIM), shared blocks (S) and not (NS), CIFAR-10",
        ("accuracy", "inception_score", "fid", "mse"),
        (
            _variation(
                "table2_aim_not_shared",
                "AIM-MPCC (NS)",
                inception_score=(8.24, 0.07),
                fid=(21.55, 1.47),
                mse=(1.52, 0.84),
            ),
            _variation(
                "table2_aim_shared", "AIM-MPCC (S)", inception_score=(9.09, 0.04), fid=(10.42, 0.36), mse=(1.64, 1.42)
            ),
            dataclasses.replace(BEST, label="MPCC (S)"),
        ),
    ),
    "table3": Table(
        "table3",
        "Table 3: generated images, without labels and with, CIFAR-10",
        ("inception_score", "fid"),
        (
            dataclasses.replace(BEST, label="(a) unconditional"),
            _variation("table3_conditional", "(b) conditional", inception_score=(9.55, 0.08), fid=(5.69, 0.17)),
        ),
    ),
    "table4": Table("table4", "Table 4: clustering", ("accuracy", "best_three"), CLUSTERING),
    "study": Table(
        "study",
        "Paper and released code, one convention at a time",
        ("accuracy",),
        tuple(row for row in CLUSTERING if row.name in ("digits", "mnist")),
        arms=ARMS,
        shown=ARMS,
    ),
}
