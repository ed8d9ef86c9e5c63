"""Training curves in small panels, from what was logged."""

import functools
from typing import NamedTuple

import numpy as np

from mpcc_jax.report.charts import Chart, legend, new_axes, qualitative_colors

WIDTH, HEIGHT = 370, 250
SMOOTHED_ABOVE = 100


class Panel(NamedTuple):
    """Curves that share axes.

    Attributes:
      name: of the files.
      title: what is shown.
      curves: names in the legend, by name in the log.
      log_scale: whether the values are.
    """

    name: str
    title: str
    curves: dict
    log_scale: bool = False


PANELS = (
    Panel(
        "adversarial",
        "Adversarial losses",
        {
            "discriminator_loss_real": "D, real",
            "discriminator_loss_fake": "D, generated",
            "generator_loss": "G",
        },
    ),
    Panel("logits", "Logits of the discriminator", {"logits_real": "real", "logits_fake": "generated"}),
    Panel("encoder", "Loss of the encoder, nats", {"encoder_nll": "L_q"}),
    Panel(
        "prior_losses",
        "Losses of the prior",
        {"membership_cross_entropy": "L_c, Eq. 8", "prior_negative_entropy": "L_p, Eq. 10"},
    ),
    Panel(
        "prior_sigma",
        "Standard deviations of the prior",
        {"prior_sigma_max": "largest", "prior_sigma_mean": "mean", "prior_sigma_min": "smallest"},
    ),
    Panel(
        "cluster_entropy",
        "Entropy of the cluster sizes, nats",
        {"probe_cluster_entropy": "sample of real images", "cluster_entropy": "all scored images"},
    ),
    Panel(
        "accuracy",
        "Accuracy and mutual information",
        {"accuracy_many_to_one": "many to one", "accuracy_one_to_one": "one to one", "nmi": "NMI"},
    ),
    Panel(
        "confidence",
        "Confidence",
        {"probe_mean_confidence": "mean, real images", "prior_accuracy": "prior draws recognised"},
    ),
    Panel(
        "gradient_norms",
        "Norms of the gradients",
        {
            "gradient_norm_discriminator": "D",
            "gradient_norm_generator": "G",
            "gradient_norm_encoder": "E",
            "gradient_norm_prior": "prior",
        },
        log_scale=True,
    ),
)


def smooth(values, window):
    """Running mean; at the ends, of what there is.

    Args:
      values: [T], finite.
      window: how many values, odd.

    Returns:
      [T].
    """
    from scipy.ndimage import uniform_filter1d

    filtered = [uniform_filter1d(part, window, mode="constant") for part in (values, np.ones(len(values)))]
    return filtered[0] / filtered[1]


def curve_charts(history):
    """A chart for every panel of which something was logged.

    Args:
      history: (finished iterations [T], values [T]) by name; other names than those of `PANELS` are left out.

    Returns:
      `Chart`s in the order of `PANELS`.
    """
    charts = []
    for panel in PANELS:
        curves = {label: _finite(*history[name]) for name, label in panel.curves.items() if name in history}
        curves = {label: curve for label, curve in curves.items() if len(curve[0]) > 1}
        if curves:
            ends = ", ".join(f"{label} ends at {values[-1]:.3g}" for label, (_, values) in curves.items())
            alt = f"{panel.title} over the iterations: {ends}."
            charts.append(Chart(f"curves_{panel.name}", panel.title, alt, functools.partial(_draw, panel, curves)))
    return charts


def _finite(iterations, values):
    iterations, values = np.asarray(iterations), np.asarray(values, np.float64)
    kept = np.isfinite(values)
    return iterations[kept], values[kept]


def _draw(panel, curves, theme):
    figure, axes = new_axes(theme, WIDTH, HEIGHT)
    axes.grid(axis="y", color=theme.grid, linewidth=0.7)
    axes.set_axisbelow(True)
    lines = []
    for (iterations, values), color in zip(curves.values(), qualitative_colors(len(curves), theme), strict=True):
        long = len(values) > SMOOTHED_ABOVE
        if long:
            axes.plot(iterations, values, color=color, linewidth=0.6, alpha=0.3)
        shown = smooth(values, 2 * (len(values) // 100) + 1) if long else values
        lines += axes.plot(iterations, shown, color=color, linewidth=1.6)
    if panel.log_scale and all((values > 0).all() for _, values in curves.values()):
        axes.set_yscale("log")
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.locator_params(axis="x", nbins=4)
    axes.set_xlim(0, 1.01 * max(iterations[-1] for iterations, _ in curves.values()))
    if len(curves) > 1:
        legend(figure, theme, lines, list(curves), num_columns=2 if max(map(len, curves)) > 14 else len(curves))
    return figure
