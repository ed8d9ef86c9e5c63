"""Which settings pay on this device: each against the setting that is the default, in turns."""

from benchmarks.gpu.configs import load_config
from benchmarks.gpu.stages import COMPILE_SECONDS, FASTEST, prepare, time_run, turn_length
from benchmarks.gpu.versus import alternate

NAMES = ("mnist", "cifar10")
ROUNDS, TURN_SECONDS = 3, 0.7
LENGTHS = (1, 5, 20, 100)
# XLA's compiler options. Of the command buffers (CUDA graphs): none, those without loops, those with loops in them.
NO_LOOPS = "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,DYNAMIC_SLICE_FUSION"
OPTIONS = (
    {"xla_gpu_enable_command_buffer": ""},
    {"xla_gpu_enable_command_buffer": NO_LOOPS},
    {"xla_gpu_enable_command_buffer": f"{NO_LOOPS},WHILE,CONDITIONAL"},
    {"xla_gpu_enable_latency_hiding_scheduler": True},
    {"xla_gpu_enable_triton_gemm": False},
    {"xla_gpu_autotune_level": 0},
)


def _in_turns(session, kind, base, name, labels, **changed):
    """One setting against the default.

    Args: session; kind and labels of the result; base, the `Run` of the default by configuration, filled here; name;
      changed, what `prepare` takes.
    """
    precision = FASTEST
    labels = {"config": name, "precision": precision, **labels}
    with session.attempt(kind, COMPILE_SECONDS, **labels) as go:
        if not go:
            return
        if name not in base:
            base[name] = prepare(session, name, precision)[1]
        _, other = prepare(session, name, precision, **changed)

        def turns_of(run):
            calls = turn_length(session, run, TURN_SECONDS)
            return lambda: calls * run.iterations / run.call(calls)

        rates = alternate(turns_of(other), turns_of(base[name]), 1 if session.tiny else ROUNDS)
        rates = {"changed": rates["ours"], "default": rates["peer"], "ratio": rates["ratio"]}
        session.emit(kind, **labels, **rates, **other.facts)


def switches(session):
    """Every flag of config.speed turned over; and the length of a call. Args: session."""
    base = {}
    pairs = [(field, not value) for field, value in load_config("mnist").speed.items()]
    for field, value in pairs[:1] if session.tiny else pairs:
        for name in NAMES[:1] if session.tiny else NAMES:

            def change(config, field=field, value=value):
                config.speed[field] = value

            _in_turns(session, "switch", base, name, {"field": field, "value": value}, change=change)
    precision = FASTEST
    for length in (1,) if session.tiny else LENGTHS:
        labels = {"config": "mnist", "precision": precision, "length": length}
        with session.attempt("length", COMPILE_SECONDS, **labels) as go:
            if go:
                _, run = prepare(session, "mnist", precision, iterations=length)
                session.emit("length", **labels, **time_run(session, run, repeats=3, seconds=1.0))


def options(session):
    """XLA's compiler options on and off. Args: session."""
    base = {}
    for name in NAMES[:1] if session.tiny else NAMES:
        for choice in OPTIONS[-1:] if session.tiny else OPTIONS:
            _in_turns(session, "option", base, name, {"options": choice}, options=choice)
