"""Our iteration as a compiled call with everything it needs, and its timing."""

import dataclasses
import re
import time

import jax
import numpy as np

from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.training.algorithm import build_algorithm
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import init_state, split_seed
from mpcc_jax.training.steps import compile_train_iterations

NUM_IMAGES = 2000
CACHE_HIT = "/jax/compilation_cache/cache_hits"


@dataclasses.dataclass
class Run:
    """A compiled call of several iterations, and what it is called with.

    Attributes:
      program: the compiled function.
      state: the `TrainState` so far; every call reuses its memory.
      examples, noise_key: its other arguments.
      loader: that the examples come from.
      layout: the `Layout`.
      iterations: of one call.
      facts: trace_s, compile_s, cached (whether the compilation came from the cache), memory and kernels.
      metrics: of the last call.
    """

    program: object
    state: object
    examples: object
    noise_key: object
    loader: object
    layout: object
    iterations: int
    facts: dict
    metrics: object = None

    def call(self, calls=1):
        """Trains. Args: calls. Returns seconds until all of it was done."""
        start = time.perf_counter()
        for _ in range(calls):
            self.state, self.metrics = self.program(self.state, self.examples, self.noise_key)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - start

    def call_with_loader(self, calls):
        """As `call`, with examples drawn anew for every call, as training does."""
        start = time.perf_counter()
        for examples in self.loader.calls(0, calls * self.iterations, self.iterations):
            self.state, self.metrics = self.program(self.state, examples, self.noise_key)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - start

    def finite(self):
        """Returns whether all metrics of the last call are finite."""
        return all(bool(np.isfinite(values).all()) for values in jax.device_get(self.metrics).values())


def _kernels(compiled):
    """How often the optimised program has each of the calls that cost something; loop bodies count once."""
    text = compiled.as_text()
    counts = {"fusion": len(re.findall(r"= [^=\n]* fusion\(", text)), "while": len(re.findall(r" while\(", text))}
    for target in re.findall(r'custom_call_target="([^"]+)"', text):
        counts[target] = counts.get(target, 0) + 1
    return counts


def _memory(compiled):
    """Bytes of the program by itself; None where the backend does not tell."""
    analysis = compiled.memory_analysis()
    if analysis is None:
        return None
    sizes = analysis.argument_size_in_bytes, analysis.output_size_in_bytes, analysis.temp_size_in_bytes
    return sum(sizes) - analysis.alias_size_in_bytes


def compile_run(config, image_channels, iterations, options=None, state=None, devices=None):
    """Builds, compiles and fills a call of our iteration.

    Args:
      config: the configuration; num_seeds of it are trained at once.
      image_channels: 1 or 3.
      iterations: of one call.
      options: XLA's compiler options for the call.
      state: on the host, to start from; None is a new one.
      devices: None is the first one.

    Returns:
      A `Run`.
    """
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, devices or jax.devices()[:1])
    size, training = config.data.resolution, config.training
    images = np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, size, size, image_channels)).astype(np.uint8)
    keys = [split_seed(seed) for seed in range(config.num_seeds)]
    steps = (training.discriminator_steps, training.batch_size)
    loader = DeviceLoader(images, None, [key.data for key in keys], *steps, layout)
    (examples,) = loader.calls(0, iterations, iterations)
    noise_key = layout.replicate_keys(*(key.noise for key in keys))
    if state is None:
        state = init_state(algorithm, layout.replicate_keys(*(key.init for key in keys)), layout)
    else:
        state = layout.place_tree(state)

    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event == CACHE_HIT else None)
    began = time.perf_counter()
    lowered = compile_train_iterations(algorithm, layout).lower(state, examples, noise_key)
    traced, before = time.perf_counter(), len(hits)
    program = lowered.compile(compiler_options=options)
    facts = {
        "trace_s": traced - began,
        "compile_s": time.perf_counter() - traced,
        "cached": len(hits) > before,
        "program_bytes": _memory(program),
        "kernels": _kernels(program),
    }
    return Run(program, state, examples, noise_key, loader, layout, iterations, facts)


def peak_bytes():
    """Returns the most memory that this process had on the device so far; None where the backend does not tell."""
    return (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def calls_for(run, seconds):
    """How many calls fill a time; warms up.

    Args:
      run: the `Run`.
      seconds: to fill.

    Returns:
      At least 1.
    """
    for _ in range(2):  # the first loads kernels, the second may record CUDA graphs
        run.call()
    return max(1, round(seconds / run.call()))


def measure(run, repeats, seconds):
    """Times a program.

    Args:
      run: the `Run`.
      repeats: how often.
      seconds: that a repeat should take.

    Returns:
      Iterations per second of every repeat, and calls per repeat.
    """
    calls = calls_for(run, seconds)
    return [calls * run.iterations / run.call(calls) for _ in range(repeats)], calls
