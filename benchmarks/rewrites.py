"""Every exact rewrite on and off, in alternation: what each one is worth on this device.

python -m benchmarks.rewrites [--config configs/mnist.py] [--image_channels C] [--rounds N] [--iterations N]
    [--variant paper|released] [--switches a,b]

`config.speed` has a switch for each. One switch at a time is turned over, the others stay as they are by default; the
ratio to read is on / off within a round. `subpixel` does something with --variant released alone.
"""

import argparse
import dataclasses
import datetime
import platform
import time

import jax
import numpy as np

from benchmarks.iteration import load_config
from mpcc_jax.data.loaders import DeviceLoader
from mpcc_jax.mesh import make_layout
from mpcc_jax.networks.rewrites import Rewrites
from mpcc_jax.training.iteration import compile_train_many
from mpcc_jax.training.state import build_algorithm, init_state

SWITCHES = tuple(field.name for field in dataclasses.fields(Rewrites))


def prepare(config, image_channels, iterations):
    """Args: config; image_channels; iterations per call. Returns what runs a call, and seconds of compiling."""
    size = config.data.resolution
    images = np.random.default_rng(0).integers(0, 256, (1000, size, size, image_channels)).astype(np.uint8)
    data_key, noise_key = jax.random.split(jax.random.key(1))
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, jax.devices()[:1])
    steps, batch_size = algorithm.discriminator_steps, algorithm.batch_size
    examples = next(DeviceLoader(images, None, (data_key,), steps, batch_size, layout).calls(0, iterations, iterations))
    noise_key = layout.replicate_keys(noise_key)
    box = [init_state(algorithm, layout.replicate_keys(jax.random.key(0)), layout)]
    start = time.perf_counter()
    program = compile_train_many(algorithm, layout).lower(box[0], examples, noise_key).compile()
    compiling = time.perf_counter() - start

    def run():
        start = time.perf_counter()
        box[0], _ = jax.block_until_ready(program(box[0], examples, noise_key))
        return (time.perf_counter() - start) / iterations

    run()
    return run, compiling


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
            programs[value] = prepare(one, image_channels, iterations)
        times[switch] = {True: [], False: []}
        for turn in range(rounds):
            for value in (True, False) if turn % 2 else (False, True):
                times[switch][value].append(programs[value][0]())
        on, off = (np.asarray(times[switch][value]) for value in (True, False))
        ratio = on / off
        print(
            f"{switch:26}{np.median(on):9.4f}{np.median(off):9.4f}{ratio.min():15.3f}{np.median(ratio):7.3f}"
            f"{ratio.max():6.3f}{programs[True][1]:10.1f} s{programs[False][1]:6.1f} s",
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
