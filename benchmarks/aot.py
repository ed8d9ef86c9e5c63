"""What training would cost on TPUs, as their compiler estimates it: none has to be there.

python -m benchmarks.aot [--configs digits,mnist] [--precisions bfloat16] [--topologies v5e:1,v5e:2x4] [--num_seeds 1,8]
    [--batch_size 48] [--out results/aot.json] [--whole] [--tiny]

libtpu compiles for a slice on a machine that has none (requirements-tpu.txt). The step of each network is compiled as a
program of its own, since XLA counts the body of a loop once, and counted as often as an iteration takes it. The file is
written after every program, and what is there is not compiled again. Seconds are the cycles that the compiler estimates
for each operation; nothing here was measured.
"""

import argparse
import collections
import dataclasses
import functools
import itertools
import json
import os
import pathlib
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict

from benchmarks.flops import count_flop
from benchmarks.ours import image_channels_of, read_config
from benchmarks.peak import peak_of, utilisation
from mpcc_jax.data.loader import Batch, Examples
from mpcc_jax.model import encode, generate
from mpcc_jax.prior import Latents
from mpcc_jax.training.sharding import Layout, make_layout
from mpcc_jax.training.state import Algorithm, abstract_state, build_algorithm
from mpcc_jax.training.steps import train_iterations, update_discriminator, update_encoder, update_generator
from reproduce.markdown import render

# Cycles per second by `device_kind`: the peak, over the 2 x 4 x 128 x 128 FLOP of a cycle of the matrix units.
CLOCKS = {"TPU v5 lite": 1.5e9}
NUM_COSTLIEST = 12  # operations that are listed for each program
COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
BYTES = {"f32": 4, "bf16": 2, "s32": 4, "u32": 4, "f16": 2, "s8": 1, "u8": 1, "pred": 1, "f64": 8, "s64": 8, "u64": 8}
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(COLLECTIVES)})(?:-start)?\(")
_CYCLES = re.compile(r'"estimated_cycles":"(\d+)"')
_OPERATION = re.compile(r'op_name="[^"/]*/([^"]*)"')
_SHAPE = re.compile(r"\b([a-z]+\d+|pred)\[([\d,]*)\]")


class Phase(NamedTuple):
    """A program, its abstract arguments, and how often a chip runs it in an iteration of all seeds."""

    program: Callable
    arguments: tuple
    times: int


def slice_devices(topology: str) -> list[Any]:
    """Returns the devices of a slice as "v5e:2x4" names it; "v5e:1" is one of them alone."""
    kind, _, shape = topology.partition(":")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # no chip is used, so several may compile at once
    name = f"{kind}:2x2" if shape == "1" else topology
    devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
    return devices[:1] if shape == "1" else devices


def count_turns(layout: Layout) -> int:
    """Counts the seeds that a chip trains one after the other."""
    return layout.num_seeds // layout.mesh.shape["seed"] if layout.in_turns else 1


def whole_iteration(algorithm: Algorithm, layout: Layout) -> Phase:
    """The program that a run calls, of one iteration: loops over the steps, so its cycles are not those of all."""
    size, seeds = algorithm.batch_size, (layout.num_seeds,) if layout.num_seeds > 1 else ()
    shape = (*seeds, 1, algorithm.discriminator_steps, size)
    array = functools.partial(jax.ShapeDtypeStruct, sharding=layout.examples)
    labels = array(shape, jnp.int32) if algorithm.needs_labels else None
    examples = Examples(array((*shape, *algorithm.model.image_shape), jnp.uint8), labels)
    key = jax.ShapeDtypeStruct(seeds, jax.random.key(0).dtype, sharding=layout.by_seed)
    program = layout.over_seeds(functools.partial(train_iterations, algorithm, layout=layout))
    return Phase(program, (abstract_state(algorithm, layout), examples, key), 0)


def phases(algorithm: Algorithm, layout: Layout) -> dict[str, Phase]:
    """The steps of an iteration, and what a trained model does, for abstract arguments on a mesh.

    Of seeds that take turns on a chip one is compiled: a call slices the state once, for many iterations.
    """
    turns = count_turns(layout)
    layout = dataclasses.replace(layout, num_seeds=layout.num_seeds // turns)
    model, size, dtype = algorithm.model, algorithm.batch_size, jnp.float32
    seeds = (layout.num_seeds,) if layout.num_seeds > 1 else ()

    def array(shape, kind=dtype):
        spec = PartitionSpec(*layout.seed_axes, "batch")
        return jax.ShapeDtypeStruct((*seeds, *shape), kind, sharding=NamedSharding(layout.mesh, spec))

    latents = Latents(array((size,), jnp.int32), array((size, model.prior.noise_dim)))
    images = array((size, *model.image_shape))
    batch = Batch(images, array((size,), jnp.int32) if algorithm.needs_labels else None)
    state = abstract_state(algorithm, layout)

    def precise(update):
        def program(*arguments):
            with model.precision.scope():
                state, metrics = update(algorithm, *arguments)
            return layout.pin(state), metrics

        return program

    def update_first_encoder(algorithm, state, latents):
        return update_encoder(algorithm, state, (latents, jnp.bool_(True)))

    def encode_images(state, images):
        return encode(model, state.params, state.buffers, images, train=False)[0]

    def generate_images(state, latents):
        z = model.prior.sampling_mixture(state.params["prior"]).sample(*latents)
        return generate(model, state.params, state.buffers, z, latents.y, train=False)[0]

    programs = {
        "discriminator": Phase(precise(update_discriminator), (state, (batch, latents)), algorithm.discriminator_steps),
        "generator": Phase(precise(update_generator), (state, latents), 1),
        "encoder": Phase(precise(update_first_encoder), (state, latents), algorithm.encoder_steps),
        "encode": Phase(encode_images, (state, images), 0),
        "generate": Phase(generate_images, (state, latents), 0),
    }
    return {
        name: Phase(layout.over_seeds(phase.program), phase.arguments, turns * phase.times)
        for name, phase in programs.items()
    }


def count_collectives(text: str) -> dict[str, dict[str, int]]:
    """Counts the collectives of a compiled program and the bytes of their results on one chip, by kind."""
    found = {}
    for types, kind in _COLLECTIVE.findall(text):
        entry = found.setdefault(kind, {"count": 0, "bytes": 0})
        entry["count"] += 1
        for element, shape in _SHAPE.findall(types):
            entry["bytes"] += BYTES.get(element, 4) * int(np.prod([int(n) for n in shape.split(",") if n] or [1]))
    return found


def count_cycles(text: str) -> dict[str, int]:
    """Adds up the cycles that the compiler estimates for each scheduled operation, by the JAX operation it came from.

    Copies between memories and collectives run beside others and have none. Both branches of a condition are counted.
    """
    cycles = collections.Counter()
    for line in text.splitlines():
        if count := _CYCLES.search(line):
            name = _OPERATION.search(line)
            cycles[name.group(1) if name else ""] += int(count.group(1))
    return dict(cycles.most_common())


def compile_phase(phase: Phase, donate: bool) -> dict[str, Any]:
    """Compiles a program, and returns what the compiler says of it for one chip, and processor seconds."""
    start = time.process_time()
    lowered = jax.jit(phase.program, donate_argnums=0 if donate else ()).lower(*phase.arguments)
    traced = time.process_time()
    compiled = lowered.compile()
    cost, memory, text = compiled.cost_analysis(), compiled.memory_analysis(), compiled.as_text()
    cycles = count_cycles(text)
    return {
        "times": phase.times,
        "trace_s": round(traced - start, 2),
        "compile_s": round(time.process_time() - traced, 2),
        "flop": cost["flops"],
        "bytes": cost["bytes accessed"],
        "cycles": sum(cycles.values()),
        "costliest": dict(itertools.islice(cycles.items(), NUM_COSTLIEST)),
        "argument_bytes": memory.argument_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "instructions": text.count(" = "),
        "collectives": count_collectives(text),
    }


def summarise(record: dict[str, Any], config: ConfigDict) -> dict[str, Any]:
    """Adds up an iteration: estimated seconds, iterations per second of all seeds, and utilisation at that estimate."""
    kind, chips, turns = record["kind"], record["chips"], record["turns"]
    copies = 1 if turns == 1 else 2 * turns  # of the state: before and after the call
    steps = [facts for facts in record["phases"].values() if facts["times"]]
    seconds = sum(facts["times"] * facts["cycles"] for facts in steps) / CLOCKS[kind]
    flop = config.num_seeds * count_flop(config, image_channels_of(config))["rewritten"]
    moved = [entry for facts in steps for entry in facts["collectives"].values() for _ in range(facts["times"])]
    return {
        "compile_s": round(sum(facts["compile_s"] for facts in steps), 1),
        "memory_bytes": max(copies * facts["argument_bytes"] + facts["temporary_bytes"] for facts in steps),
        "collectives": sum(entry["count"] for entry in moved),
        "collective_bytes": sum(entry["bytes"] for entry in moved),
        "estimated_s": seconds,
        "seed_iterations_per_s": config.num_seeds / seconds,
        "utilisation": utilisation(flop, seconds, chips * peak_of(kind, "bfloat16")),
    }


def render_table(records: list[dict[str, Any]]) -> str:
    """Renders finished records as a table in Markdown."""
    headings = [
        *("config", "slice", "precision", "seeds", "B", "compile, processor s", "memory, MB"),
        "collectives (MB)",
    ]
    rows = []
    for record in records:
        if iteration := record.get("iteration"):
            cells = [record[name] for name in ("config", "topology", "precision", "num_seeds", "batch_size")]
            cells += [f"{iteration['compile_s']:.0f}", f"{iteration['memory_bytes'] / 1e6:.0f}"]
            cells += [f"{iteration['collectives']} ({iteration['collective_bytes'] / 1e6:.1f})"]
            cells += [f"{1e3 * iteration['estimated_s']:.2f}", f"{iteration['seed_iterations_per_s']:.0f}"]
            rows.append([*cells, f"{100 * iteration['utilisation']:.1f} %"])
    table = render([*headings, "estimate, ms", "seeds x iterations/s", "utilisation"], rows)
    return "\n".join(["# What the TPU's compiler estimates", "", "## An iteration", "", *table, ""])


def plan(given: argparse.Namespace) -> Iterator[tuple[dict[str, Any], ConfigDict]]:
    """Yields every combination that was asked for, and its configuration."""
    names, lists = ("topology", "config", "precision"), (given.topologies, given.configs, given.precisions)
    seeds = [int(number) for number in given.num_seeds.split(",")]
    for *chosen, num_seeds in itertools.product(*(text.split(",") for text in lists), seeds):
        key = {**dict(zip(names, chosen, strict=True)), "num_seeds": num_seeds}
        config = read_config(key["config"], given.tiny, key["precision"], num_seeds)
        config.training.batch_size = given.batch_size or config.training.batch_size
        yield {**key, "batch_size": config.training.batch_size}, config


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", default="digits,mnist")
    parser.add_argument("--precisions", default="bfloat16")
    parser.add_argument("--topologies", default="v5e:1")
    parser.add_argument("--num_seeds", default="1")
    parser.add_argument("--batch_size", type=int, default=0, help="0 is the configuration's")
    parser.add_argument("--out", type=pathlib.Path, default="results/aot.json")
    parser.add_argument("--whole", action="store_true", help="compile the program of a whole iteration too")
    parser.add_argument("--tiny", action="store_true", help="8x8 pixels and few feature maps, for tests")
    given = parser.parse_args(arguments)
    records = json.loads(given.out.read_text()) if given.out.exists() else []
    for key, config in plan(given):
        devices = slice_devices(key["topology"])
        layout = make_layout(config, devices)
        record = next((entry for entry in records if entry.items() >= key.items()), None)
        if record is None:
            record = {**key, "chips": layout.mesh.size, "turns": count_turns(layout), "phases": {}}
            record["kind"] = devices[0].device_kind
            records.append(record)
        algorithm = build_algorithm(config, image_channels_of(config))
        programs = phases(algorithm, layout)
        if given.whole:
            programs["whole"] = whole_iteration(algorithm, layout)
        for name, phase in programs.items():
            if name in record["phases"]:
                continue
            facts = record["phases"][name] = compile_phase(phase, donate=name == "whole" or phase.times > 0)
            given.out.parent.mkdir(parents=True, exist_ok=True)
            given.out.write_text(json.dumps(records, indent=1) + "\n")
            print(
                f"{key['config']:14}{key['topology']:9}{key['precision']:10}{key['num_seeds']:>3}  {name:14}"
                f"{facts['compile_s']:8.1f} s to compile {facts['cycles']:10} cycles estimated",
                flush=True,
            )
        record["iteration"] = summarise(record, config)
        given.out.write_text(json.dumps(records, indent=1) + "\n")
        given.out.with_suffix(".md").write_text(render_table(records))
        print(record["iteration"], flush=True)


if __name__ == "__main__":
    main()
