"""What is known about a trained model, as plain arrays: all that the report is drawn from."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Integer, UInt8


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Findings:
    """What the report shows of a trained model; the page has no section for what is left out.

    Attributes:
      data: "name" of the data set, and if known "version", "split" and "count" (images).
      scores: numbers by name, None where a score is not defined; those of `page.SCORES` are explained.
      cluster_sizes: real images per cluster.
      samples: n generated images of every component.
      generation: "fid", "kid", "inception_score" and the like by name: numbers, None, or dictionaries with "mean" and
        "sd"; "kid_missing" and the like, why one is None; and "protocol", a nested dictionary.
      majorities: K pairs (name of the most frequent class, its share of the cluster); None for an empty cluster.
      typical, atypical: of every cluster the most and the least typical real images, the extreme first.
      outliers: the real images of lowest density, the lowest first.
      outlier_log_probs: their log p(z), nats.
      interpolations: images along paths between latents.
      confusion: real images by class and cluster, counts.
      latents: means of q(z given x) of a sample of real images, of which `clusters` and `labels` are too.
      history: what was logged, by name: (finished iterations [T], values [T]).
      members: of a run of several seeds each one's "seed", "selected" (whether it is the one to keep), and scores.
      config, environment: the configuration; machine and versions; nested.
    """

    title: str
    iteration: int | None
    data: dict
    scores: dict
    cluster_sizes: Integer[np.ndarray, " K"]
    samples: UInt8[np.ndarray, "K n H W C"]
    generation: dict | None = None
    majorities: Sequence[tuple[str, float] | None] | None = None
    typical: Sequence[UInt8[np.ndarray, "_ H W C"]] | None = None
    atypical: Sequence[UInt8[np.ndarray, "_ H W C"]] | None = None
    originals: UInt8[np.ndarray, "pairs H W C"] | None = None
    reconstructions: UInt8[np.ndarray, "pairs H W C"] | None = None
    outliers: UInt8[np.ndarray, "outliers H W C"] | None = None
    outlier_log_probs: Float[np.ndarray, " outliers"] | None = None
    interpolations: UInt8[np.ndarray, "paths steps H W C"] | None = None
    confusion: Integer[np.ndarray, "classes K"] | None = None
    class_names: Sequence[str] | None = None
    latents: Float[np.ndarray, "N J"] | None = None
    clusters: Integer[np.ndarray, " N"] | None = None
    labels: Integer[np.ndarray, " N"] | None = None
    prior_mean: Float[np.ndarray, "K J"] | None = None
    prior_std: Float[np.ndarray, "K J"] | None = None
    history: Mapping[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(default_factory=dict)
    members: Sequence[dict] = ()
    config: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.cluster_sizes)
