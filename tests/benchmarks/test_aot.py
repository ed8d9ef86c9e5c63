"""Programs for TPUs: what an iteration is made of, and what is read from a compiled program."""

import importlib.util
import json

import jax
import pytest

from benchmarks import aot
from benchmarks.aot import (
    count_collectives,
    count_cycles,
    main,
    phases,
    plan,
    render_table,
    summarise,
    whole_iteration,
)
from benchmarks.ours import read_config
from mpcc_jax.training.sharding import Layout
from mpcc_jax.training.state import build_algorithm
from tests.conftest import layout_of

HLO = """
  %all-reduce.1 = (f32[3,4]{1,0}, bf16[8]{0}) all-reduce(%a, %b), replica_groups={{0,1}}
  %ag = f32[16]{0} all-gather-start(%c), dimensions={0}
  %done = f32[16]{0} all-gather-done(%ag)
  ROOT %sum = f32[] add(%d, %e)
"""


def test_collectives_are_counted_with_the_bytes_of_their_results():
    expected = {"all-reduce": {"count": 1, "bytes": 4 * 12 + 2 * 8}, "all-gather": {"count": 1, "bytes": 4 * 16}}
    assert count_collectives(HLO) == expected


@pytest.mark.parametrize(("devices", "num_seeds"), [(2, 1), (2, 2)])
def test_phases_are_those_of_an_iteration(devices, num_seeds):
    algorithm = build_algorithm(read_config("digits", tiny=True, num_seeds=num_seeds), 1)
    programs = phases(algorithm, layout_of(devices, num_seeds))
    assert {name: phase.times for name, phase in programs.items()} == {
        "discriminator": 2,
        "generator": 1,
        "encoder": 2,
        "encode": 0,
        "generate": 0,
    }
    for name in ("discriminator", "encoder", "generate"):
        phase = programs[name]
        result = jax.eval_shape(phase.program, *phase.arguments)
        if phase.times:
            shapes, expected = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (result[0], phase.arguments[0]))
            assert shapes == expected
        else:
            assert result.shape == ((num_seeds,) if num_seeds > 1 else ()) + (8, 8, 8, 1)


@pytest.mark.parametrize(("devices", "num_seeds"), [(2, 1), (2, 2)])
def test_the_whole_iteration_is_the_program_of_a_run(devices, num_seeds):
    algorithm = build_algorithm(read_config("digits", tiny=True, num_seeds=num_seeds), 1)
    phase = whole_iteration(algorithm, layout_of(devices, num_seeds))
    state, metrics = jax.eval_shape(phase.program, *phase.arguments)
    shapes, expected = (jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (state, phase.arguments[0]))
    assert shapes == expected
    assert metrics["generator_loss"].shape == ((num_seeds, 1) if num_seeds > 1 else (1,))


def test_an_iteration_is_the_sum_of_its_steps():
    config = read_config("digits", tiny=True, num_seeds=2)
    moved = {"all-reduce": {"count": 3, "bytes": 10}}
    facts = {"compile_s": 2.0, "argument_bytes": 5, "temporary_bytes": 6, "collectives": moved}
    steps = {"discriminator": (2, 1), "generator": (1, 2), "encoder": (2, 3), "encode": (0, 7)}
    programs = {
        name: {"times": times, "cycles": 1_500_000 * cycles, **facts} for name, (times, cycles) in steps.items()
    }
    record = {"kind": "TPU v5 lite", "chips": 1, "turns": 1, "phases": programs}
    iteration = summarise(record, config)
    assert iteration["estimated_s"] == pytest.approx(10e-3)
    assert iteration["seed_iterations_per_s"] == pytest.approx(200.0)
    assert (iteration["compile_s"], iteration["memory_bytes"]) == (6.0, 11)
    assert (iteration["collectives"], iteration["collective_bytes"]) == (15, 50)
    assert summarise({**record, "turns": 2}, config)["memory_bytes"] == 26
    key = {"topology": "v5e:1", "config": "digits", "precision": "bfloat16", "num_seeds": 2, "batch_size": 8}
    table = render_table([{**key, **record, "iteration": iteration}, {**key, "phases": {}}])
    assert table.splitlines()[-1].startswith("| digits | v5e:1 | bfloat16 | 2 | 8 | 6 | 0 | 15 (0.0) | 10.00 | 200 |")


def test_cycles_are_those_of_the_scheduled_operations():
    line = '%f = f32[8] fusion(%a), metadata={{op_name="jit(step)/{}"}}, backend_config={{"estimated_cycles":"{}"}}'
    text = "\n".join(
        [line.format("G/conv", 70), line.format("G/sum", 20), line.format("G/conv", 7), "%c = f32[] copy(%a)"]
    )
    assert count_cycles(text) == {"G/conv": 77, "G/sum": 20}


def test_of_seeds_in_turn_one_is_compiled_and_counted_for_each(monkeypatch):
    monkeypatch.setattr(Layout, "in_turns", True)
    algorithm = build_algorithm(read_config("digits", tiny=True, num_seeds=4), 1)
    programs = phases(algorithm, layout_of(2, 4))
    assert [phase.times for phase in programs.values()] == [4, 2, 4, 0, 0]
    phase = programs["generate"]
    assert jax.eval_shape(phase.program, *phase.arguments).shape == (2, 8, 8, 8, 1)


def test_a_slice_is_compiled_for_without_one(tmp_path, monkeypatch):
    if importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs requirements-tpu.txt")
    out = tmp_path / "aot.json"
    main(["--configs=digits", "--tiny", f"--out={out}"])
    (record,) = json.loads(out.read_text())
    assert record["kind"] == "TPU v5 lite"
    assert record["iteration"]["estimated_s"] > 0
    monkeypatch.setattr(aot, "compile_phase", lambda *_: pytest.fail("it is compiled already"))
    main(["--configs=digits", "--tiny", f"--out={out}"])


def test_the_plan_is_every_combination():
    arguments = {"topologies": "v5e:1,v5e:2x4", "configs": "digits", "precisions": "bfloat16", "num_seeds": "1,8"}
    given = type("Given", (), {**arguments, "tiny": True, "batch_size": 48})
    keys = [key for key, _ in plan(given)]
    assert [(key["topology"], key["num_seeds"]) for key in keys] == [
        ("v5e:1", 1),
        ("v5e:1", 8),
        ("v5e:2x4", 1),
        ("v5e:2x4", 8),
    ]
    assert {key["batch_size"] for key in keys} == {48}
