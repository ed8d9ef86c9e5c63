"""Every exact rewrite on and off, in alternation: what each one is worth on this device.

python -m benchmarks.rewrites [--config mnist] [--image_channels C] [--rounds N] [--iterations N]
    [--variant paper|released] [--switches a,b]

`config.speed` has a switch for each. One switch at a time is turned over, the others stay as they are by default; the
ratio to read is on / off within a round.
"""

import argparse
import dataclasses
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from benchmarks.ours import compile_run, read_config
from benchmarks.rounds import alternate, print_heading, ratios, spread
from mpcc_jax.networks.rewrites import Rewrites

SWITCHES = tuple(field.name for field in dataclasses.fields(Rewrites))


def measure(
    config: ConfigDict, image_channels: int, rounds: int, iterations: int, switches: Sequence[str] = SWITCHES
) -> dict[str, dict[str, list[float]]]:
    """Prints the table; returns seconds per iteration of every round, {switch: {"on": [...], "off": [...]}}."""
    print_heading(config, image_channels)
    print(f"{rounds} rounds of {iterations}; default {dict(config.speed)}")
    print(f"{'':26}{'on, s':>9}{'off, s':>9}   on / off: min, median, max   compiling on, off")
    times = {}
    for switch in switches:
        runs = {}
        for name, value in (("on", True), ("off", False)):
            changed = config.copy_and_resolve_references()
            changed.speed[switch] = value
            runs[name] = compile_run(changed, image_channels, iterations)
        turns = {name: lambda run=run: run.call() / iterations for name, run in runs.items()}
        times[switch] = alternate(turns, rounds)
        on, off = times[switch]["on"], times[switch]["off"]
        compiling = ", ".join(f"{run.facts['compile_s']:.1f} s" for run in runs.values())
        medians = f"{np.median(on):9.4f}{np.median(off):9.4f}"
        print(f"{switch:26}{medians}   {spread(ratios(on, off))}   {compiling}", flush=True)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="mnist")
    parser.add_argument("--image_channels", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--variant", default="paper")
    parser.add_argument("--switches", default=",".join(SWITCHES))
    arguments = parser.parse_args()
    switches = tuple(arguments.switches.split(","))
    if unknown := set(switches) - set(SWITCHES):
        parser.error(f"--switches has {', '.join(sorted(unknown))}; allowed: {', '.join(SWITCHES)}.")
    config = read_config(arguments.config)
    config.variant = arguments.variant
    measure(config, arguments.image_channels, arguments.rounds, arguments.iterations, switches)


if __name__ == "__main__":
    main()
