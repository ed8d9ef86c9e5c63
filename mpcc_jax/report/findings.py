"""What is known about a trained model, as plain arrays: all that the report is drawn from."""

import dataclasses
import numbers
from collections.abc import Mapping, Sequence

import numpy as np

from mpcc_jax.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """A trained model, looked at. K clusters, J latent dimensions; images are uint8 with C = 1 or 3 channels.

    What has a default may be left out, and the page has no section for it.

    Attributes:
      title: of the page.
      iteration: finished iterations.
      data: "name" of the data set, and if known "version", "split" and "count" (images).
      scores: numbers by name, None where a score is not defined; those of `vocabulary.SCORES` are explained.
      cluster_sizes: real images per cluster, counts, [K].
      samples: generated images of every component, [K, n, H, W, C].
      generation: "fid", "kid", "inception_score" and the like by name: numbers, None, or dictionaries with "mean" and
        "sd"; "kid_missing" and the like, why one is None; and "protocol", a nested dictionary.
      majorities: K pairs (name of the most frequent class, its share of the cluster in [0, 1]); None for an empty
        cluster.
      typical: K arrays of the cluster's real images that are most typical, the most typical first, [<= n, H, W, C].
      atypical: the same of the least typical, the least typical first.
      originals: real images, [n, H, W, C].
      reconstructions: G(E(x)) of them, [n, H, W, C].
      outliers: the real images of lowest density, the lowest first, [n, H, W, C].
      outlier_log_probs: their log p(z), nats, [n].
      interpolations: images along paths between latents, [rows, steps, H, W, C].
      confusion: real images by class and cluster, counts, [classes, K].
      class_names: one per class.
      latents: means of q(z given x) of a sample of real images, [N, J].
      clusters: their clusters, integers, [N].
      labels: their classes, integers, [N].
      prior_mean: mu of the prior, [K, J].
      prior_std: sigma of the prior, [K, J].
      history: what was logged, by name: (finished iterations [T], values [T]).
      config: the configuration, nested.
      environment: machine and versions, nested.
    """

    title: str
    iteration: int
    data: Mapping
    scores: Mapping
    cluster_sizes: np.ndarray
    samples: np.ndarray
    generation: Mapping | None = None
    majorities: Sequence | None = None
    typical: Sequence | None = None
    atypical: Sequence | None = None
    originals: np.ndarray | None = None
    reconstructions: np.ndarray | None = None
    outliers: np.ndarray | None = None
    outlier_log_probs: np.ndarray | None = None
    interpolations: np.ndarray | None = None
    confusion: np.ndarray | None = None
    class_names: Sequence[str] | None = None
    latents: np.ndarray | None = None
    clusters: np.ndarray | None = None
    labels: np.ndarray | None = None
    prior_mean: np.ndarray | None = None
    prior_std: np.ndarray | None = None
    history: Mapping = dataclasses.field(default_factory=dict)
    config: Mapping = dataclasses.field(default_factory=dict)
    environment: Mapping = dataclasses.field(default_factory=dict)

    @property
    def num_clusters(self):
        """K."""
        return len(self.cluster_sizes)

    def __post_init__(self):
        """Raises InputError if the fields do not fit each other."""
        _check(np.ndim(self.cluster_sizes) == 1 and len(self.cluster_sizes) > 0, "cluster_sizes", self, "[K], K > 0")
        _check("name" in self.data, "data", self, "a dictionary with 'name'")
        for name, value in self.scores.items():
            if not (value is None or isinstance(value, numbers.Real)):
                raise InputError(f"Findings.scores[{name!r}] is {value!r}; allowed: a number, or None.")
        for name, value in (self.generation or {}).items():
            score = value is None or isinstance(value, numbers.Real) or (isinstance(value, Mapping) and "sd" in value)
            if not (score or name == "protocol" or (name.endswith("_missing") and isinstance(value, str))):
                raise InputError(
                    f"Findings.generation[{name!r}] is {value!r}; allowed: a number, None, or 'mean' and 'sd'."
                )
        self._check_images()
        self._check_clusters()
        self._check_latents()
        for name, series in self.history.items():
            if len(series) != 2 or np.shape(series[0]) != np.shape(series[1]) or np.ndim(series[0]) != 1:
                raise InputError(f"Findings.history[{name!r}] has to be (iterations [T], values [T]).")

    def _check_images(self):
        _check_images("samples", self.samples, 5)
        _check(len(self.samples) == self.num_clusters, "samples", self, f"one row for each of K = {self.num_clusters}")
        for name in ("typical", "atypical"):
            rows = getattr(self, name)
            _check(rows is None or len(rows) == self.num_clusters, name, self, f"{self.num_clusters} arrays, or None")
            for row in rows or ():
                _check_images(name, row, 4)
        for name, rank in (("originals", 4), ("reconstructions", 4), ("outliers", 4), ("interpolations", 5)):
            if getattr(self, name) is not None:
                _check_images(name, getattr(self, name), rank)
        self._check_together("originals", "reconstructions")
        self._check_together("outliers", "outlier_log_probs")

    def _check_clusters(self):
        rows = self.majorities
        fitting = rows is None or (len(rows) == self.num_clusters and all(row is None or len(row) == 2 for row in rows))
        _check(fitting, "majorities", self, f"{self.num_clusters} pairs (class name, share) or None")
        if self.confusion is not None:
            shape = np.shape(self.confusion)
            _check(
                len(shape) == 2 and shape[0] > 0 and shape[1] == self.num_clusters,
                "confusion",
                self,
                f"counts, [classes, {self.num_clusters}]",
            )
            names = self.class_names
            _check(names is None or len(names) == shape[0], "class_names", self, f"{shape[0]} names, as confusion has")

    def _check_latents(self):
        self._check_together("latents", "clusters")
        if self.labels is not None:
            self._check_together("latents", "labels")
        self._check_together("prior_mean", "prior_std")
        if self.latents is None:
            return
        _check(np.ndim(self.latents) == 2, "latents", self, "[N, J]")
        if self.prior_mean is not None:
            shape = (self.num_clusters, np.shape(self.latents)[1])
            for name in ("prior_mean", "prior_std"):
                _check(np.shape(getattr(self, name)) == shape, name, self, f"[K, J] = {shape}")

    def _check_together(self, first, second):
        one, other = getattr(self, first), getattr(self, second)
        _check((one is None) == (other is None), second, self, f"an array if there are {first}, else None")
        _check(one is None or len(one) == len(other), second, self, f"as many as there are {first}")


def _check(condition, field, findings, allowed):
    if not condition:
        value = getattr(findings, field)
        given = f"has shape {value.shape}" if isinstance(value, np.ndarray) else f"is {value!r}"
        raise InputError(f"Findings.{field} {given}; allowed: {allowed}.")


def _check_images(field, images, rank):
    shape = np.shape(images)
    if len(shape) != rank or shape[-1] not in (1, 3) or np.asarray(images).dtype != np.uint8:
        raise InputError(
            f"Findings.{field} has images of shape {shape} and type {np.asarray(images).dtype}; "
            f"allowed: uint8, {rank} axes that end with H, W, C, where C is 1 or 3."
        )
