"""Our iteration beside the same one in PyTorch (`benchmarks/peer`), in alternation.

python -m benchmarks.compare [--config configs/mnist.py] [--channels C] [--image_channels N] [--rounds N]
    [--iterations N] [--variants eager,channels_last,compile] [--peer_python PATH] [--tiny]

Ours and every variant of the peer is a process of its own that stays alive, warmed up, and sleeps while another one
works. A round runs each of them once, in an order that turns from round to round. The ratio to read is that of one
round, ours / peer: a machine that slows down slows both.
"""

import argparse
import datetime
import os
import platform
import sys

import jax
import numpy as np

from benchmarks.iteration import load_config
from benchmarks.ours import compile_run
from benchmarks.peer.pipe import Worker, serve
from benchmarks.peer.settings import Settings, parse_variant
from mpcc_jax.config import resolve_conventions
from mpcc_jax.networks.architecture import ARCHITECTURES

CPU_VARIANTS = "eager,channels_last,compile+channels_last"
# Memory that is freed stays with the process, ours and the peer's: fewer page faults on CPU.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**26)}


class CompareError(ValueError):
    """A configuration that the peer does not implement; the message names the field."""


def peer_settings(config, image_channels):
    """The peer's settings for a configuration.

    Args:
      config: the configuration.
      image_channels: 1 or 3.

    Returns:
      A `Settings`.

    Raises:
      CompareError: if the configuration has something that the peer does not compute.
    """
    for field, value, only in (
        ("loss.adversarial", config.loss.adversarial, "hinge"),
        ("prior.kind", config.prior.kind, "gaussian_mixture"),
        ("model.share_blocks", config.model.share_blocks, True),
        ("model.power_iterations", config.model.power_iterations, 1),
        ("training.conditional", config.training.conditional, False),
        ("data.crop_padding", config.data.crop_padding, 0),
        ("data.flip", config.data.flip, False),
    ):
        if value != only:
            raise CompareError(f"config.{field} is {value!r}, and the peer computes {only!r} alone; set it so.")
    conventions, plan, model = resolve_conventions(config), ARCHITECTURES[config.data.resolution], config.model
    training = config.training

    def stages(name):
        return tuple((stage.width * model.channels, stage.resample) for stage in getattr(plan, name))

    return Settings(
        resolution=config.data.resolution,
        image_channels=image_channels,
        input_width=plan.input_width * model.channels,
        generator=stages("generator"),
        trunk=stages("trunk"),
        discriminator=stages("discriminator"),
        encoder=stages("encoder"),
        latent_dim=model.latent_dim,
        num_clusters=model.num_clusters,
        conditioning=model.conditioning,
        upsampling=conventions.upsampling,
        log_constant=conventions.log_constant,
        sigma_floor=conventions.sigma_floor,
        latent_gradient=conventions.latent_gradient,
        prior_optimizers=conventions.prior_optimizers,
        sigma_min=config.prior.sigma_min,
        initial_log_var=config.prior.initial_log_var,
        prior_weight=config.loss.prior_weight,
        batch_size=training.batch_size,
        discriminator_steps=training.discriminator_steps,
        encoder_steps=training.encoder_steps,
        learning_rate=training.learning_rate,
        prior_learning_rate=training.prior_learning_rate,
        beta1=training.beta1,
        beta2=training.beta2,
        epsilon=training.epsilon,
        ema_decay=config.ema.decay,
        ema_start=config.ema.start,
        momentum=model.batch_norm_momentum,
        batch_norm_epsilon=model.batch_norm_epsilon,
        spectral_epsilon=model.spectral_epsilon,
    )


def make_config(request):
    """Args: request, a dictionary with config, channels (0: the config's), tiny. Returns the configuration."""
    config = load_config(request["config"])
    if request["channels"]:
        config.model.channels = request["channels"]
    if request["tiny"]:
        config.data.resolution = 8
        config.model.update({"channels": 1, "latent_dim": 8, "num_clusters": 3})
        config.training.update({"batch_size": 8, "discriminator_steps": 2, "encoder_steps": 2})
    return config


def prepare_ours(request):
    """Our side of the pipe: compiles one iteration. Args: request. Returns facts and a function that runs it."""
    run = compile_run(make_config(request), request["image_channels"], request["iterations"])
    facts = {
        "warm_up": run.facts["trace_s"] + run.facts["compile_s"] + run.call(),
        "versions": {"jax": jax.__version__, "numpy": np.__version__},
        "device": jax.devices()[0].device_kind,
    }
    return facts, lambda iterations: run.call(iterations // run.iterations)


def _spread(values, digits):
    return "  ".join(f"{value:.{digits}f}" for value in (min(values), float(np.median(values)), max(values)))


def compare(request, variants, rounds, peer_python=sys.executable):
    """Runs the comparison and prints its table.

    Args:
      request: config (a path), channels (0: the config's), image_channels, iterations (per turn), tiny.
      variants: of the peer, each as `parse_variant` reads it.
      rounds: how often all alternate.
      peer_python: the interpreter that has torch.

    Returns:
      Seconds per iteration of every round by name, ours under "ours".
    """
    config = make_config(request)
    settings = peer_settings(config, request["image_channels"])
    for variant in variants:
        parse_variant(variant)
    workers, times = {}, {}
    try:
        workers["ours"] = Worker([sys.executable, "-m", "benchmarks.compare", "--serve"], request, ENVIRONMENT)
        for variant in variants:
            message = {"settings": vars(settings), "variant": variant}
            command = [peer_python, "-m", "benchmarks.peer.timing"]
            workers[variant] = Worker(command, message, ENVIRONMENT)
        times = {name: [] for name in workers}
        names = list(workers)
        for turn in range(rounds):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                times[name].append(workers[name].run(request["iterations"]))
    finally:
        for worker in workers.values():
            worker.close()
    _report(config, request, {name: worker.facts for name, worker in workers.items()}, times)
    return times


def _report(config, request, facts, times):
    size, training = config.data.resolution, config.training
    versions = {name: version for fact in facts.values() for name, version in fact["versions"].items()}
    print(
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {facts['ours']['device']}, {platform.machine()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {versions}"
    )
    print(
        f"C = {config.model.channels}, J = {config.model.latent_dim}, B = {training.batch_size}, "
        f"{size}x{size}x{request['image_channels']}, {training.discriminator_steps} D + 1 G + "
        f"{training.encoder_steps} E steps, {config.model.conditioning}, {config.variant}; "
        f"{len(times['ours'])} rounds of {request['iterations']}"
    )
    print(f"{'seconds per iteration':32}   min  median  max      ours / it  min  median  max     warm-up s")
    for name, values in times.items():
        ratios = [ours / value for ours, value in zip(times["ours"], values, strict=True)]
        ratio = " " * 16 if name == "ours" else _spread(ratios, 3)
        print(f"{name:32}{_spread(values, 4)}        {ratio:24}{facts[name]['warm_up']:10.1f}")
    peers = {name: float(np.median(values)) for name, values in times.items() if name != "ours"}
    best = min(peers, key=peers.get)
    ratios = [ours / value for ours, value in zip(times["ours"], times[best], strict=True)]
    print(f"the peer's best is {best}; ours takes {_spread(ratios, 3)} (min, median, max) of its time")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mnist.py")
    parser.add_argument("--channels", type=int, default=0)
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1, help="per turn of a process")
    parser.add_argument("--variants", default=CPU_VARIANTS)
    parser.add_argument("--peer_python", default=sys.executable)
    parser.add_argument("--tiny", action="store_true", help="8x8, a few maps: for tests")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(prepare_ours)
        return
    names = ("config", "channels", "image_channels", "iterations", "tiny")
    request = {name: getattr(arguments, name) for name in names}
    compare(request, arguments.variants.split(","), arguments.rounds, arguments.peer_python)


if __name__ == "__main__":
    main()
