"""Our iteration beside the same one in PyTorch (`benchmarks/peer`), in alternation.

python -m benchmarks.compare [--config mnist] [--channels C] [--image_channels N] [--rounds N] [--iterations N]
    [--variants eager,channels_last,compile] [--peer_python PATH] [--tiny]

Ours and every variant of the peer is a process of its own that stays alive, warmed up, and sleeps while another one
works. A round runs each of them once, in an order that rotates. The ratio to read is that of one round, ours / peer.
"""

import argparse
import dataclasses
import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from benchmarks.ours import compile_run, read_config
from benchmarks.peer.pipe import Worker, serve
from benchmarks.peer.settings import Settings, parse_variant
from benchmarks.rounds import alternate, print_heading, ratios, spread
from mpcc_jax.config import resolve_augmentation, resolve_conventions, resolve_warm_start
from mpcc_jax.errors import ConfigError
from mpcc_jax.networks.architecture import ARCHITECTURES

CPU_VARIANTS = "eager,channels_last,compile+channels_last"
# Memory that is freed stays with the process, ours and the peer's: fewer page faults on CPU.
ENVIRONMENT = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34), "MALLOC_TOP_PAD_": str(2**26)}
# Fields that the peer computes with one value only.
FIXED = {
    "loss.adversarial": "hinge",
    "prior.family": "gaussian",
    "model.share_blocks": True,
    "model.power_iterations": 1,
    "training.conditional": False,
}


def peer_settings(config: ConfigDict, image_channels: int) -> Settings:
    """The peer's settings for a configuration; a ConfigError names a field that it does not compute."""
    for field, only in FIXED.items():
        group, name = field.split(".")
        if config[group][name] != only:
            raise ConfigError(f"config.{field} is {config[group][name]!r}, and the peer computes {only!r} alone.")
    if probability := resolve_augmentation(config)["probability"]:
        raise ConfigError(f"config.augmentation.probability is {probability}, and the peer computes 0 alone.")
    if warm_start := resolve_warm_start(config):
        raise ConfigError(f"the warm start takes {warm_start} iterations, and the peer has none: config.variant=paper.")
    plan, channels = ARCHITECTURES[config.data.resolution], config.model.channels
    values = {**config.model, **config.prior, **config.loss, **config.training}
    values |= dataclasses.asdict(resolve_conventions(config))
    for part in ("generator", "trunk", "discriminator", "encoder"):
        values[part] = tuple((stage.width * channels, stage.resample) for stage in getattr(plan, part))
    values |= {
        "resolution": config.data.resolution,
        "image_channels": image_channels,
        "input_width": plan.input_width * channels,
        "ema_decay": config.ema.decay,
        "ema_start": config.ema.start,
    }
    return Settings(**{field.name: values[field.name] for field in dataclasses.fields(Settings)})


def start_peer(
    config: ConfigDict, image_channels: int, variant: str, python: str, patience: float | None = None
) -> Worker:
    """Starts the peer in a process of its own; patience is in seconds."""
    message = {"settings": vars(peer_settings(config, image_channels)), "variant": variant}
    return Worker([python, "-m", "benchmarks.peer.timing"], message, ENVIRONMENT, patience)


def prepare_ours(request: dict[str, Any]) -> tuple[dict[str, Any], Callable[[int], float]]:
    """Our side of the pipe: compiles one iteration; returns facts and a function that runs some."""
    run = compile_run(make_config(request), request["image_channels"], request["iterations"])
    facts = {
        "warm_up": run.facts["trace_s"] + run.facts["compile_s"] + run.call(),
        "versions": {"jax": jax.__version__},
    }
    return facts, lambda iterations: run.call(iterations // run.iterations)


def make_config(request: dict[str, Any]) -> ConfigDict:
    """The configuration of a request: config, channels (0: the configuration's) and tiny."""
    config = read_config(request["config"], request["tiny"])
    config.model.channels = request["channels"] or config.model.channels
    return config


def compare(
    request: dict[str, Any], variants: list[str], rounds: int, peer_python: str = sys.executable
) -> dict[str, list[float]]:
    """Runs the comparison and prints its table.

    Args:
        request: config, channels, image_channels, iterations (per turn), tiny.
        variants: of the peer, each as `parse_variant` reads it.
        rounds: how often all alternate.
        peer_python: the interpreter that has torch.

    Returns:
        Seconds per iteration of every round by name, ours under "ours".
    """
    config = make_config(request)
    for variant in variants:
        parse_variant(variant)
    peer_settings(config, request["image_channels"])
    workers = {}
    try:
        workers["ours"] = Worker([sys.executable, "-m", "benchmarks.compare", "--serve"], request, ENVIRONMENT)
        for variant in variants:
            workers[variant] = start_peer(config, request["image_channels"], variant, peer_python)
        turns = {name: functools.partial(worker.run, request["iterations"]) for name, worker in workers.items()}
        times = alternate(turns, rounds, warm_up=0)
    finally:
        for worker in workers.values():
            worker.close()
    print_heading(config, request["image_channels"])
    print({name: version for worker in workers.values() for name, version in worker.facts["versions"].items()})
    columns = "   min  median  max      processor s    ours / it  min  median  max     warm-up s"
    print(f"{'seconds per iteration':32}{columns}")
    for name, values in times.items():
        ratio = " " * 16 if name == "ours" else spread(ratios(times["ours"], values))
        processor = np.median(workers[name].processor_seconds)
        print(f"{name:32}{spread(values, 4)}{processor:12.4f}        {ratio:24}{workers[name].facts['warm_up']:10.1f}")
    best = min(variants, key=lambda name: np.median(times[name]))
    share = spread(ratios(times["ours"], times[best]))
    print(f"the peer's best is {best}; ours takes {share} (min, median, max) of its time")
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnist")
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
    request = {name: vars(arguments)[name] for name in ("config", "channels", "image_channels", "iterations", "tiny")}
    compare(request, arguments.variants.split(","), arguments.rounds, arguments.peer_python)


if __name__ == "__main__":
    main()
