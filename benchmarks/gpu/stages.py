"""Correctness, speed and seeds: the stages that run nothing but our own iteration."""

import jax
import numpy as np

from benchmarks.floor import DEVICES, utilisation
from benchmarks.flops import count_iteration
from benchmarks.gpu.configs import EXPERIMENTS, PRECISIONS, load_config, with_precision
from benchmarks.ours import calls_for, compile_run, measure, peak_bytes

FASTEST = "bfloat16"
REPEATS, REPEAT_SECONDS = 5, 1.5
COMPILE_SECONDS = 25  # that must be left to begin one

LOSSES = (
    *("discriminator_loss_real", "discriminator_loss_fake", "generator_loss"),
    *("encoder_nll", "membership_cross_entropy", "prior_negative_entropy"),
)
# |a - b| / max(1, |b|) after one iteration: the hinge losses are near 1 and the generator's crosses 0. Operands are
# rounded to 2^-11 in tf32 and 2^-8 in bf16; some 20 layers and the first steps of Adam, which are signs of gradients
# (eight of 2e-4 on weights of 0.02), let a few times that through: 20 and 13 times are allowed. float32 differs between
# devices by its order of summation, 2^-24, and by those signs.
BOUNDS = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
# By precision: bytes of an activation, and the arithmetic whose peak counts.
ARITHMETIC = {"float32": (4, "float32"), "tf32": (4, "tensorfloat32"), "bfloat16": (2, "bfloat16")}


def iterations_per_call(session, name):
    """Args: session; name of the configuration. Returns iterations in one compiled call."""
    return 2 if session.tiny else EXPERIMENTS[name].iterations_per_call


def prepare(session, name, precision, **more):
    """Our compiled call at the published size.

    Args:
      session: the `Session`.
      name: of the configuration.
      precision: one of `PRECISIONS`.
      **more: iterations, num_seeds, change (a function that changes the configuration), and what `compile_run` takes.

    Returns:
      The configuration and the `Run`.
    """
    config = with_precision(load_config(name, session.tiny), precision)
    config.num_seeds = more.pop("num_seeds", 1)
    more.pop("change", lambda _: None)(config)
    iterations = more.pop("iterations", iterations_per_call(session, name))
    return config, compile_run(config, EXPERIMENTS[name].image_channels, iterations, **more)


def time_run(session, run, repeats=REPEATS, seconds=REPEAT_SECONDS):
    """Times a program. Args: session; run; repeats; seconds of one. Returns values for a result."""
    rates, calls = measure(run, 2, 0) if session.tiny else measure(run, repeats, seconds)
    times = {"iterations_per_second": rates, "calls": calls, "iterations_per_call": run.iterations}
    return {**times, **run.facts, "finite": run.finite()}


def work_done(config, image_channels, precision, rate):
    """What a speed means.

    Args:
      config: the configuration.
      image_channels: 1 or 3.
      precision: one of `PRECISIONS`.
      rate: iterations per second.

    Returns:
      hours to the published number of iterations, teraflop of one iteration by count, and utilisation by count: of the
      device's peak in that precision, None where benchmarks/flops.py does not know the device.
    """
    activation_bytes, arithmetic = ARITHMETIC[precision]
    counts = {
        name: sum(work.flop for work in count_iteration(config, image_channels, rewritten, activation_bytes).values())
        for name, rewritten in (("published", False), ("rewritten", True))
    }
    device = DEVICES.get(jax.devices()[0].device_kind)
    shares = device and {name: utilisation(flop, 1 / rate, device.peaks[arithmetic]) for name, flop in counts.items()}
    return {
        "hours": config.training.iterations / rate / 3600,
        "published_iterations": config.training.iterations,
        "teraflop": {name: 1e-12 * flop for name, flop in counts.items()},
        "peak_teraflops": device and 1e-12 * device.peaks[arithmetic],
        "utilisation": shares,
    }


def _speed(session, pairs):
    highest = 0
    for name, precision in pairs:
        labels = {"config": name, "precision": precision}
        with session.attempt("speed", COMPILE_SECONDS, **labels) as go:
            if not go:
                continue
            config, run = prepare(session, name, precision)
            values = time_run(session, run)
            calls = max(1, values["calls"] // 2)
            loaded = [calls * run.iterations / run.call_with_loader(calls) for _ in range(2)]
            # A process remembers its highest peak: that of a smaller program after a larger one is not known.
            peak = peak_bytes()
            known, highest = peak is not None and peak > highest, max(highest, peak or 0)
            session.emit(
                "speed",
                **labels,
                **values,
                with_loader=loaded,
                peak_bytes=peak if known else None,
                **work_done(
                    config, EXPERIMENTS[name].image_channels, precision, np.median(values["iterations_per_second"])
                ),
            )
            del run


def headline(session):
    """The two numbers that targets are set for, in the fastest precision. Args: session."""
    names = ("mnist",) if session.tiny else ("mnist", "cifar10")
    _speed(session, [(name, FASTEST) for name in names])


def speed(session):
    """All other configurations and precisions, the most wanted first. Args: session."""
    best = FASTEST
    done = [("mnist", best), ("cifar10", best)]
    wanted = [("cifar10", "tf32"), ("mnist", "tf32"), ("fashion_mnist", "bfloat16"), ("omniglot100", "bfloat16")]
    wanted += [("fashion_mnist", "tf32"), ("omniglot100", "tf32")]
    if best == "float32":
        wanted += [(name, best) for name in EXPERIMENTS]
    _speed(session, done[1:] if session.tiny else [pair for pair in wanted if pair not in done])


def compare_losses(losses, reference):
    """Differences after one iteration.

    Args:
      losses, reference: numbers by name.

    Returns:
      |a - b| / max(1, |b|) by name.
    """
    return {name: abs(losses[name] - reference[name]) / max(1.0, abs(reference[name])) for name in LOSSES}


def _judge(session, losses, reference, precision, against):
    differences = compare_losses(losses, reference)
    largest = max(differences.values()) if np.isfinite(list(differences.values())).all() else float("inf")
    session.emit(
        "correctness",
        precision=precision,
        against=against,
        differences=differences,
        largest=largest if np.isfinite(largest) else "not finite",
        bound=BOUNDS[precision],
        passed=largest <= BOUNDS[precision],
        losses=losses,
    )


def correctness(session):
    """One iteration of mnist from the same state, images and noise in every precision, and on the CPU.

    It is the first iteration of the call that is timed, so that nothing has to be compiled for it alone.

    Args:
      session: the `Session`.
    """
    start, losses = {}, {}

    def first_losses(precision, **more):
        _, run = prepare(session, "mnist", precision, state=start.get("state"), **more)
        if not start:  # copies: the call reuses the memory of its state
            start.update(state=jax.tree.map(np.array, run.state), examples=jax.tree.map(np.array, run.examples))
        if "devices" in more:
            run.examples = _moved(start["examples"], run)
        run.call()
        metrics = jax.device_get(run.metrics)
        return {name: float(values[0]) for name, values in metrics.items() if name in LOSSES}

    for precision in ("float32", FASTEST) if session.tiny else PRECISIONS:  # float32 first
        with session.attempt("correctness", COMPILE_SECONDS, precision=precision) as go:
            if go:
                losses[precision] = first_losses(precision)
                if precision != "float32" and "float32" in losses:
                    _judge(session, losses[precision], losses["float32"], precision, "float32 on the device")
    with session.attempt("correctness", COMPILE_SECONDS, precision="float32", against="the CPU") as go:
        if go:
            iterations = {} if session.tiny else {"iterations": 1}
            reference = first_losses("float32", devices=jax.devices("cpu")[:1], **iterations)
            for precision, values in losses.items():
                _judge(session, values, reference, precision, "float32 on the CPU")


def _moved(examples, run):
    """Examples of as many iterations as another program takes, on its device. Args: examples on the host; run."""
    return jax.tree.map(lambda leaf: run.layout.place(leaf[: run.iterations], run.layout.examples), examples)


def seeds(session):
    """Several runs of mnist in one program. Args: session."""
    precision = FASTEST
    for number in (1, 2) if session.tiny else (1, 2, 4, 8):
        labels = {"config": "mnist", "precision": precision, "num_seeds": number}
        with session.attempt("seeds", COMPILE_SECONDS, **labels) as go:
            if go:
                _, run = prepare(session, "mnist", precision, num_seeds=number)
                values = time_run(session, run, repeats=3, seconds=1.0)
                total = [number * rate for rate in values["iterations_per_second"]]
                session.emit("seeds", **labels, **values, seed_iterations_per_second=total)
                del run


def turn_length(session, run, seconds):
    """Calls that fill a turn. Args: session; run, a `Run`; seconds. Returns at least 1."""
    return calls_for(run, 0 if session.tiny else seconds)
