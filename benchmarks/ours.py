"""Our iteration as a compiled call with everything it needs."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mpcc_jax.compilation import leave_loops_rolled
from mpcc_jax.config import get_config, validate
from mpcc_jax.data.loader import DeviceLoader
from mpcc_jax.training.sharding import make_layout
from mpcc_jax.training.state import build_algorithm, init_state
from mpcc_jax.training.steps import compile_train_iterations

NUM_IMAGES = 2000
REPEATS = 5


def read_config(name: str, tiny: bool = False, precision: str = "", num_seeds: int = 1) -> ConfigDict:
    """Reads a configuration by its name in configs/ or its path, and validates it.

    Args:
        name: "mnist", or "configs/mnist.py".
        tiny: 8x8 pixels and few feature maps, for tests.
        precision: "" is the configuration's.
        num_seeds: runs that are trained at once.
    """
    config = get_config(name)
    if tiny:
        config.data.resolution = 8
        config.model.update({"channels": 1, "latent_dim": 8, "num_clusters": 3})
        steps = {"discriminator_steps": 2, "encoder_steps": 2, "iterations_per_call": 2}
        config.training.update({"batch_size": 8, **steps})
    config.training.precision = precision or config.training.precision
    config.num_seeds = num_seeds
    validate(config)
    return config


def image_channels_of(config: ConfigDict) -> int:
    """Channels of the data set's images, without reading it: 3 for CIFAR, else 1 unless the configuration says so."""
    return config.data.channels or (3 if config.data.name.startswith("cifar") else 1)


def random_images(config: ConfigDict, image_channels: int, count: int = NUM_IMAGES) -> np.ndarray:
    """Draws uint8 images of the configured size."""
    size = config.data.resolution
    return np.random.default_rng(0).integers(0, 256, (count, size, size, image_channels), np.uint8)


@dataclasses.dataclass(eq=False)
class Run:
    """A compiled call of several iterations, and what it is called with.

    Attributes:
        iterations: of one call.
        facts: trace_s and compile_s, and program_bytes where the backend tells.
        metrics: of the last call.
    """

    program: Any
    state: Any
    examples: Any
    noise_key: Any
    iterations: int
    facts: dict[str, Any]
    metrics: Any = None

    def call(self, calls: int = 1) -> float:
        """Trains, and returns the seconds until all of it was done."""
        start = time.perf_counter()
        for _ in range(calls):
            self.state, self.metrics = self.program(self.state, self.examples, self.noise_key)
        jax.block_until_ready((self.state, self.metrics))
        return time.perf_counter() - start

    def is_finite(self) -> bool:
        """Whether all metrics of the last call are finite."""
        return all(bool(np.isfinite(values).all()) for values in jax.device_get(self.metrics).values())

    def calls_within(self, seconds: float) -> int:
        """Calls that fill a time, at least 1; two calls before warm up."""
        self.call()  # loads kernels
        self.call()  # may record CUDA graphs
        return max(1, round(seconds / self.call()))

    def measure(self, seconds: float) -> list[float]:
        """Iterations per second of `REPEATS` repeats, or of three if calls are long, in about as many seconds."""
        calls = self.calls_within(seconds / REPEATS)
        repeats = [self.call(calls)]
        while len(repeats) < 3 or (len(repeats) < REPEATS and sum(repeats) < seconds):
            repeats.append(self.call(calls))
        return [calls * self.iterations / repeat for repeat in repeats]


def compile_run(config: ConfigDict, image_channels: int, iterations: int) -> Run:
    """Compiles a call of some iterations as training does, on the first device and random images."""
    leave_loops_rolled()
    algorithm, layout = build_algorithm(config, image_channels), make_layout(config, jax.devices()[:1])
    keys = [jax.random.split(jax.random.key(seed), 3) for seed in range(config.num_seeds)]
    init_keys, data_keys, noise_keys = zip(*keys, strict=True)
    steps, images = algorithm.discriminator_steps, random_images(config, image_channels)
    loader = DeviceLoader(images, None, list(data_keys), steps, algorithm.batch_size, layout)
    (examples,) = loader.calls(0, iterations, iterations)
    noise_key = layout.replicate_keys(*noise_keys)
    state = init_state(algorithm, layout.replicate_keys(*init_keys), layout)
    start = time.perf_counter()
    lowered = compile_train_iterations(algorithm, layout).lower(state, examples, noise_key)
    traced = time.perf_counter()
    program = lowered.compile()
    facts = {"trace_s": traced - start, "compile_s": time.perf_counter() - traced}
    if (memory := program.memory_analysis()) is not None:
        sizes = (memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes)
        facts["program_bytes"] = sum(sizes) - memory.alias_size_in_bytes
    return Run(program, state, examples, noise_key, iterations, facts)
