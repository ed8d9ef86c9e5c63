"""What XLA is told when it compiles the networks, platform by platform; keeping programs; compiling in a thread."""

import concurrent.futures
import functools
import hashlib
import os
import platform
from pathlib import Path

import jax

from mpcc_jax.config import cache_dir
from mpcc_jax.errors import ConfigError

CACHE_BYTES = 2**30

# XLA's CPU backend gives convolutions and matmuls to YNNPACK by default. Eigen's convolution is 1.7 times as fast (48
# maps, 32x32, 2 cores: 105 against 60 GFLOP/s), its matmuls are no slower, and YNNPACK's sums are better than XLA's.
_CPU_OPTIONS = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE"}


@functools.cache
def _accepted_options(platform: str) -> dict[str, str]:
    """The options of a platform, if this version of XLA knows them: they are experimental there."""
    if platform != "cpu":
        return {}
    try:
        jax.jit(lambda: 0, compiler_options=_CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if "No such compile option" in str(error) or "not a valid" in str(error):
            return {}
        raise
    return _CPU_OPTIONS


def compiler_options() -> dict[str, str]:
    """Returns the `compiler_options` of `jax.jit` for programs that run the networks on the default platform."""
    return dict(_accepted_options(jax.default_backend()))


def _processor() -> str:
    """What the processor is called, what it can do, and how many cores this process may use."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    words = {line for line in lines if line.startswith(("model name", "flags", "Features", "CPU"))}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return "\n".join([platform.processor(), str(cores), *sorted(words)])


def leave_loops_rolled() -> None:
    """Tells XLA's CPU backend by XLA_FLAGS not to unroll loops; it has to be called before jax computes anything.

    A digits step compiles in 0.75 of the time and runs in 0.93. There is no such compiler option, only the flag. Where
    XLA_FLAGS has extra options of its own they stay alone.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_backend_extra_options=xla_cpu_disable_loop_unrolling".strip()


def keep_programs() -> None:
    """Keeps what XLA compiles in the user's cache, up to `CACHE_BYTES`, for the next start on such a processor.

    jax's own settings come first: JAX_COMPILATION_CACHE_DIR is another folder, JAX_ENABLE_COMPILATION_CACHE=false is
    none. jax's keys hold versions and options, but not the processor.
    """
    if jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache:
        return
    digest = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "programs" / digest))
    jax.config.update("jax_compilation_cache_max_size", CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


def check_platform() -> None:
    """Raises ConfigError if jax has no device of the platform that it was told to use."""
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the second, where the platform's plugin is not installed
        told = jax.config.jax_platforms
        raise ConfigError(
            f"jax finds no device of JAX_PLATFORMS={told} here ({' '.join(str(error).split()) or 'no plugin for it'}). "
            "Install jax for it, or choose another by JAX_PLATFORMS=cpu."
        ) from error


def check_precision(precision: str) -> None:
    """Raises ConfigError if jax makes new arrays float64 for training in another precision, or does not for that."""
    if jax.config.jax_enable_x64 != (precision == "float64"):
        state, value = ("on", False) if jax.config.jax_enable_x64 else ("off", True)
        raise ConfigError(
            f"jax_enable_x64 is {state}, and config.training.precision is {precision!r}; switch it by "
            f"jax.config.update('jax_enable_x64', {value}), or JAX_ENABLE_X64={value:d}."
        )


def compile_ahead(function: jax.stages.Wrapped, *arguments) -> concurrent.futures.Future:
    """Traces a jitted function here and compiles it in a thread: XLA needs neither JAX's settings nor Python's lock."""
    lowered = function.lower(*arguments)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    compiled = executor.submit(lowered.compile)
    executor.shutdown(wait=False)
    return compiled
