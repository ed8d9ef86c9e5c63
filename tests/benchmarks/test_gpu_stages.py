"""What the stages of the GPU suite measure, with a program in place of ours that takes no time to compile."""

import itertools
import types

import jax
import numpy as np
import pytest

from benchmarks.floor import Device
from benchmarks.gpu import stages, switches, versus
from benchmarks.gpu.configs import load_config
from benchmarks.gpu.session import Session, read
from benchmarks.ours import Run
from benchmarks.peer.pipe import WorkerError
from mpcc_jax.data.loader import Examples
from tests.conftest import layout_of


@pytest.fixture
def session(tmp_path):
    return Session("here", tmp_path, 100, tiny=True, peer_python="python-with-torch")


@pytest.fixture
def programs(monkeypatch):
    """What was asked to be compiled; a program counts its calls in its state, and that is its losses too."""
    asked = []

    def compile_run(config, image_channels, iterations, options=None, state=None, devices=None):
        asked.append(types.SimpleNamespace(**{**locals(), "config": config.copy()}))
        offset = {"float32": 0.0, "tf32": 0.001, "bfloat16": 0.02}[config.training.precision]

        def program(state, examples, key):
            metrics = {name: np.full(iterations, 2.0 + state["calls"] + offset) for name in stages.LOSSES}
            return {"calls": state["calls"] + 1}, metrics

        loader = types.SimpleNamespace(calls=lambda start, stop, each: [None] * ((stop - start) // each))
        examples = Examples(np.zeros((iterations, 2, 8, 8, 8, 1), np.uint8), None)
        facts = {"trace_s": 1.0, "compile_s": 2.0, "cached": False, "program_bytes": 5, "kernels": {"fusion": 1}}
        return Run(program, state or {"calls": np.zeros(())}, examples, None, loader, layout_of(), iterations, facts)

    monkeypatch.setattr(stages, "compile_run", compile_run)
    return asked


def records(session, kind):
    return [record for record in read(session.out) if record["kind"] == kind]


def test_every_configuration_and_precision_is_timed_once(session, programs, monkeypatch):
    session.tiny = False
    monkeypatch.setattr(stages, "measure", lambda run, *_: ([run.iterations / run.call()], 1))
    stages.headline(session)
    stages.speed(session)
    measured = [(record["config"], record["precision"]) for record in records(session, "speed")]
    assert measured[:2] == [("mnist", "bfloat16"), ("cifar10", "bfloat16")]
    names = ("mnist", "cifar10", "fashion_mnist", "omniglot100")
    assert sorted(measured) == sorted(itertools.product(names, ("bfloat16", "tf32")))
    assert [asked.iterations for asked in programs[:2]] == [20, 2]
    assert programs[1].image_channels == 3
    assert all("error" not in record and record["finite"] for record in records(session, "speed"))


def test_what_a_speed_means(monkeypatch):
    config = load_config("mnist")
    kind = jax.devices()[0].device_kind
    assert stages.work_done(config, 1, "bfloat16", 100.0)["utilisation"] is None
    peaks = {"bfloat16": 1e15, "tensorfloat32": 5e14, "float32": 5e13}
    monkeypatch.setitem(stages.DEVICES, kind, Device(peaks, 1e12))
    work = {precision: stages.work_done(config, 1, precision, 100.0) for precision in ("bfloat16", "tf32")}
    assert work["bfloat16"]["hours"] == pytest.approx(125_000 / 100 / 3600)
    assert work["bfloat16"]["teraflop"]["published"] == pytest.approx(0.215, rel=2e-3)
    assert work["bfloat16"]["utilisation"]["published"] == pytest.approx(0.0215, rel=2e-3)
    assert work["tf32"]["utilisation"]["published"] == pytest.approx(0.0430, rel=2e-3)
    assert work["tf32"]["utilisation"]["rewritten"] < work["tf32"]["utilisation"]["published"]


def test_one_that_fails_or_has_no_time_does_not_stop_the_others(session, programs, monkeypatch):
    compile_run = stages.compile_run

    def fails_for_two(config, *arguments, **more):
        if config.num_seeds == 2:
            raise MemoryError("RESOURCE_EXHAUSTED: out of memory")
        return compile_run(config, *arguments, **more)

    monkeypatch.setattr(stages, "compile_run", fails_for_two)
    stages.seeds(session)
    one, two = records(session, "seeds")
    assert one["seed_iterations_per_second"] == one["iterations_per_second"]
    assert (two["num_seeds"], two["error"]) == (2, "MemoryError: RESOURCE_EXHAUSTED: out of memory")
    session.tiny, session._end = False, 0
    stages.seeds(session)
    late = records(session, "seeds")[2:]
    assert [record["num_seeds"] for record in late] == [1, 2, 4, 8]
    assert all(record["error"].startswith("not run: out of time") for record in late)


def test_seeds_are_counted(session, programs):
    stages.seeds(session)
    _, two = records(session, "seeds")
    assert [asked.config.num_seeds for asked in programs] == [1, 2]
    assert two["seed_iterations_per_second"] == [2 * rate for rate in two["iterations_per_second"]]


def test_correctness_is_judged_from_the_same_start(session, programs):
    session.tiny = False
    stages.correctness(session)
    found = {(record["precision"], record["against"]): record for record in records(session, "correctness")}
    device, cpu = "float32 on the device", "float32 on the CPU"
    assert set(found) == {("tf32", device), ("bfloat16", device), *((name, cpu) for name in stages.BOUNDS)}
    assert found["tf32", device]["largest"] == pytest.approx(0.001 / 2)
    assert found["bfloat16", cpu]["differences"]["generator_loss"] == pytest.approx(0.02 / 2)
    assert found["float32", cpu]["largest"] == 0
    assert all(record["passed"] for record in found.values())
    assert programs[0].state is None
    # All others start where the first one did, before its call.
    assert [float(asked.state["calls"]) for asked in programs[1:]] == [0.0, 0.0, 0.0]
    assert programs[-1].iterations == 1
    assert programs[-1].devices[0].platform == "cpu"


@pytest.mark.parametrize(("precision", "passed"), [("float32", False), ("tf32", False), ("bfloat16", True)])
def test_bounds(session, precision, passed):
    losses = dict.fromkeys(stages.LOSSES, 0.5)
    stages._judge(session, {**losses, "generator_loss": 0.52}, losses, precision, "x")
    (record,) = records(session, "correctness")
    assert record["largest"] == pytest.approx(0.02)
    assert record["passed"] is passed


def test_a_loss_that_is_not_finite_fails(session):
    losses = dict.fromkeys(stages.LOSSES, 1.0)
    stages._judge(session, {**losses, "encoder_nll": float("nan")}, losses, "bfloat16", "x")
    (record,) = records(session, "correctness")
    assert (record["passed"], record["largest"]) == (False, "not finite")


def test_every_switch_is_measured_beside_the_default(session, programs, monkeypatch):
    session.tiny = False
    monkeypatch.setattr(switches, "turn_length", lambda *_: 1)
    monkeypatch.setattr(stages, "measure", lambda run, *_: ([run.iterations / run.call()], 1))
    switches.switches(session)
    fields = list(load_config("mnist").speed)
    assert fields
    found = records(session, "switch")
    assert [record["field"] for record in found] == [field for field in fields for _ in range(2)]
    assert [record["config"] for record in found] == ["mnist", "cifar10"] * len(fields)
    # The default of each configuration once, then one for every switch.
    changed = [[asked.config.speed[field] for asked in programs if asked.iterations != 1] for field in fields]
    for field, values in zip(fields, changed, strict=True):
        assert values.count(not load_config("mnist").speed[field]) == 2
    assert all(len(record["ratio"]) == switches.ROUNDS for record in found)
    assert [record["iterations_per_call"] for record in records(session, "length")] == [1, 5, 20, 100]


def test_compiler_options_reach_the_compiler(session, programs):
    switches.options(session)
    assert [asked.options for asked in programs] == [None, switches.OPTIONS[-1]]
    assert records(session, "option")[0]["options"] == switches.OPTIONS[-1]


def test_xla_knows_the_options():
    lowered = jax.jit(lambda x: x + 1).lower(1.0)
    for options in switches.OPTIONS:
        assert lowered.compile(compiler_options=options)(1.0) == 2


def test_turns_are_paired():
    ours, peer = itertools.count(10.0, 10.0), itertools.count(5.0, 1.0)
    rates = versus.alternate(lambda: next(ours), lambda: next(peer), 2)
    assert rates == {"ours": [10.0, 20.0], "peer": [5.0, 6.0], "ratio": [2.0, 20 / 6]}


class FakeWorker:
    """A peer that takes 0.1 s an iteration; those with a graph fail."""

    started = ()

    def __init__(self, command, message, patience):
        type(self).started += ((command[0], message["variant"], patience),)
        if "graph" in message["variant"]:
            raise WorkerError("the variant graph needs a CUDA device")
        self.facts = {"warm_up": 1.0, "versions": {"torch": "2"}}

    def run(self, iterations):
        assert iterations >= 1
        return 0.1

    def close(self):
        type(self).started += ("closed",)


def test_a_variant_that_fails_does_not_stop_the_others(session, programs, monkeypatch):
    monkeypatch.setattr(versus, "Worker", type("Worker", (FakeWorker,), {}))
    monkeypatch.setattr(versus, "has_torch", lambda python: True)
    session.tiny = False
    monkeypatch.setattr(versus, "turn_length", lambda *_: 1)
    versus.peer(session, "cifar10")
    found = {record["variant"]: record for record in records(session, "peer")}
    assert list(found) == list(versus.VARIANTS)
    for variant, record in found.items():
        if "graph" in variant:
            assert record["error"] == "WorkerError: the variant graph needs a CUDA device"
        else:
            assert record["peer"] == [10.0] * versus.ROUNDS
            assert record["ratio"] == [mine / 10.0 for mine in record["ours"]]
    assert versus.Worker.started.count("closed") == 2
    assert versus.Worker.started[0] == ("python-with-torch", versus.VARIANTS[0], 60)


def test_without_torch_the_peer_is_left_out(session, programs, monkeypatch):
    monkeypatch.setattr(versus, "has_torch", lambda python: False)
    versus.peer(session, "mnist")
    (record,) = records(session, "peer")
    assert record["error"] == "skipped: python-with-torch has no torch"
    assert not programs
