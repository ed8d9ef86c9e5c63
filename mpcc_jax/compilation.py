"""What XLA is told when it compiles the networks, platform by platform; and compiling while Python goes on."""

import concurrent.futures
import functools

import jax

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


def compile_ahead(function: jax.stages.Wrapped, *arguments) -> concurrent.futures.Future:
    """Traces a jitted function here and compiles it in a thread: XLA needs neither JAX's settings nor Python's lock."""
    lowered = function.lower(*arguments)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    compiled = executor.submit(lowered.compile)
    executor.shutdown(wait=False)
    return compiled
