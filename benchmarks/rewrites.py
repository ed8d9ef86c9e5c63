"""Every exact rewrite on and off, in alternation: what each one is worth on this device.

python -m benchmarks.rewrites [--config configs/mnist.py] [--image_channels C] [--rounds N] [--iterations N]
    [--variant paper|released] [--switches a,b]

`config.speed` has a switch for each. One switch at a time is turned over, the others stay as they are by default; the
ratio to read is on / off within a round.
"""

import argparse
import dataclasses
import datetime
import platform

import jax
import numpy as np

from benchmarks.iteration import load_config
from benchmarks.ours import compile_run
from mpcc_jax.networks.rewrites import Rewrites

SWITCHES = tuple(field.name for field in dataclasses.fields(Rewrites))


def measure(config, image_channels, rounds, iterations, switches=SWITCHES):
    """Runs the benchmark and prints its table.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      rounds: how often on and off alternate.
      iterations: in one compiled call, whose time is divided by it.
      switches: fields of `config.speed`.

    Returns:
      Seconds per iteration of every round, {switch: {True: [...], False: [...]}}.
    """
    device = jax.devices()[0]
    print(f"{datetime.date.today()}, {device.device_kind}, {platform.machine()}, jax {jax.__version__}")
    print(
        f"C = {config.model.channels}, B = {config.training.batch_size}, {config.data.resolution} px, "
        f"{config.variant}, {config.training.precision}; {rounds} rounds of {iterations}; default {dict(config.speed)}"
    )
    print(f"{'':26}{'on, s':>9}{'off, s':>9}   on / off: min median   max   compiling on, off")
    times = {}
    for switch in switches:
        programs = {}
        for value in (True, False):
            one = config.copy_and_resolve_references()
            one.speed[switch] = value
            programs[value] = compile_run(one, image_channels, iterations)
            programs[value].call()
        times[switch] = {True: [], False: []}
        for turn in range(rounds):
            for value in (True, False) if turn % 2 else (False, True):
                times[switch][value].append(programs[value].call() / iterations)
        on, off = (np.asarray(times[switch][value]) for value in (True, False))
        ratio = on / off
        print(
            f"{switch:26}{np.median(on):9.4f}{np.median(off):9.4f}{ratio.min():15.3f}{np.median(ratio):7.3f}"
            f"{ratio.max():6.3f}{programs[True].facts['compile_s']:10.1f} s{programs[False].facts['compile_s']:6.1f} s",
            flush=True,
        )
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/mnist.py")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--switches", default=",".join(SWITCHES))
    arguments = parser.parse_args()
    switches = tuple(arguments.switches.split(","))
    if unknown := set(switches) - set(SWITCHES):
        parser.error(f"--switches has {', '.join(sorted(unknown))}; allowed: {', '.join(SWITCHES)}.")
    config = load_config(arguments.config)
    config.variant = arguments.variant
    measure(config, arguments.image_channels, arguments.rounds, arguments.iterations, switches)


if __name__ == "__main__":
    main()
