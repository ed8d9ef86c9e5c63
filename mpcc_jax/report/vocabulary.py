"""What scores and settings are called on the page, and what they mean in one line."""

import math
import numbers
from collections.abc import Mapping
from typing import NamedTuple

MINUS = "\N{MINUS SIGN}"


class Entry(NamedTuple):
    """A number as the page shows it.

    Attributes:
      name: in words.
      value: as text.
      meaning: one line, or "".
    """

    name: str
    value: str
    meaning: str


AGAINST_LABELS = {
    "accuracy_many_to_one": (
        "Accuracy, many to one",
        "Every cluster stands for its most frequent class, and several may stand for one. Also called purity; Eq. 11, "
        "the number in the paper.",
    ),
    "accuracy_one_to_one": (
        "Accuracy, one to one",
        "Every cluster stands for a class of its own, matched as well as possible (Hungarian algorithm). The number in "
        "most later work.",
    ),
    "nmi": (
        "Normalised mutual information",
        "What clusters and classes say about each other, over the mean of their entropies. 0 is nothing, 1 all.",
    ),
    "ami": ("Adjusted mutual information", "What they say about each other, corrected for chance. 0 is chance, 1 all."),
    "ari": (
        "Adjusted Rand index",
        "Pairs of images that clusters and classes treat alike, corrected for chance. 0 is chance, 1 all.",
    ),
}
WITHOUT_LABELS = {
    "cluster_entropy": ("Entropy of the cluster sizes", "In nats; {log_k:.3f} if all clusters are of one size."),
    "empty_clusters": ("Empty clusters", "Clusters that hold no image."),
    "mean_confidence": ("Mean confidence", "Mean probability of the cluster that an image is put into (Eq. 9)."),
    "silhouette": (
        "Silhouette of the latents",
        "How much nearer images are to their own cluster than to the next one. \N{MINUS SIGN}1 to 1.",
    ),
    "prior_overlap": (
        "Overlap of the prior",
        "Bhattacharyya coefficient of the two components that overlap most. 0 is apart, 1 the same.",
    ),
    "reconstruction_mse": (
        "Reconstruction error",
        "Mean squared error of G(E(x)) over real images and their pixels, in [\N{MINUS SIGN}1, 1].",
    ),
    "latent_mse": ("Latent error", "Squared distance of a latent z and E(G(z)), summed over its dimensions; mean."),
    "generated_cluster_accuracy": (
        "Components found again",
        "Share of generated images that the encoder puts into the component that they were drawn from.",
    ),
    "evaluated_images": ("Images scored", "Real images behind these numbers."),
}
OF_GENERATION = {
    "fid": ("Fréchet Inception distance", "Between features of real and generated images. Less is better."),
    "kid": ("Kernel Inception distance", "The same with a polynomial kernel, unbiased. Less is better."),
    "inception_score": ("Inception score", "How sure and how varied a classifier finds the images. More is better."),
    "reference_inception_score": ("Inception score of real images", "The same of the real images, to compare with."),
}
SCORES = AGAINST_LABELS | WITHOUT_LABELS | OF_GENERATION
# What a reader of the page wants to know of a configuration.
MAIN_SETTINGS = (
    *("seed", "variant", "data.name", "data.resolution"),
    *(f"model.{name}" for name in ("channels", "latent_dim", "num_clusters", "conditioning")),
    *("prior.kind", "prior.sigma_min", "loss.adversarial", "loss.prior_weight"),
    *(f"training.{name}" for name in ("iterations", "batch_size", "discriminator_steps", "encoder_steps")),
    *("training.learning_rate", "training.prior_learning_rate", "training.conditional", "ema.decay"),
)


def readable(name):
    """A name of the program in words.

    Args:
      name: such as "gradient_norm".

    Returns:
      Such as "Gradient norm".
    """
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def show_number(value):
    """A number as people read it.

    Args:
      value: a number, or None.

    Returns:
      Text: whole numbers in groups of three, others with four digits after the point or, very large or small ones, four
      digits in all; "not defined" for None.
    """
    if value is None:
        return "not defined"
    value = float(value) if not isinstance(value, numbers.Integral) else int(value)
    if isinstance(value, int):
        text = f"{value:,}"
    elif value == 0 or 0.001 <= abs(value) < 10:
        text = f"{value:.4f}"
    else:
        text = f"{value:,.1f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
    return text.replace("-", MINUS)


def show_score(value):
    """A score as people read it.

    Args:
      value: a number, None, or a dictionary with "mean" and "sd".

    Returns:
      Text, as of `show_number`.
    """
    if isinstance(value, Mapping):
        return f"{show_number(value['mean'])} ± {float(value['sd']):.2g}"
    return show_number(value)


def explain(scores, num_clusters, names):
    """Scores as the page shows them.

    Args:
      scores: by name: numbers, None, or dictionaries with "mean" and "sd"; why one is None may be a sentence under its
        name with "_missing" behind it.
      num_clusters: K.
      names: which of them, in this order; those that are missing are left out.

    Returns:
      `Entry`s.
    """
    entries = []
    for name in names:
        if name in scores:
            title, meaning = SCORES.get(name, (readable(name), ""))
            meaning = meaning.format(log_k=math.log(num_clusters))
            reason = scores.get(f"{name}_missing")
            meaning = f"{meaning} Missing: {reason}." if reason else meaning
            entries.append(Entry(title, show_score(scores[name]), meaning))
    return entries
