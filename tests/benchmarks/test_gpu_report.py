"""The report says what was measured, what was aimed at and what is missing."""

import json

import pytest

from benchmarks.gpu.report import best_peer, markdown, spread, table, targets, write
from benchmarks.gpu.session import RESULTS, append, read

HARDWARE = {
    "kind": "hardware",
    "stage": "headline",
    "device_kind": "NVIDIA H100 80GB HBM3",
    "platform": "gpu",
    "devices": 1,
    "platform_version": "cuda 13000",
    "driver": "name, driver_version\nH100, 580",
    "date": "today",
    "versions": {"python": "3.12.3", "jax": "0.11.2"},
}
FACTS = {"trace_s": 4.0, "compile_s": 20.0, "cached": False, "program_bytes": 2**30, "kernels": {}}


def speed(config, rates, precision="bfloat16"):
    return {
        "kind": "speed",
        "stage": "headline",
        "config": config,
        "precision": precision,
        **FACTS,
        "iterations_per_second": rates,
        "with_loader": rates,
        "iterations_per_call": 2,
        "peak_bytes": None,
        "hours": 1.0,
        "published_iterations": 75_000,
        "utilisation": {"published": 0.276, "rewritten": 0.2},
    }


def peer(config, variant, theirs, ratio, **more):
    rates = {"ours": [2.0], "peer": [theirs], "ratio": [ratio], "facts": {"warm_up": 1.0}}
    return (
        {"kind": "peer", "stage": "peer", "config": config, "precision": "bfloat16", "variant": variant} | rates | more
    )


def seeds(number, rate):
    rates = {"iterations_per_second": [rate], "seed_iterations_per_second": [number * rate]}
    return {"kind": "seeds", "stage": "seeds", "config": "mnist", "num_seeds": number, **rates, **FACTS}


RECORDS = [
    HARDWARE,
    speed("cifar10", [19.0, 20.0, 21.0]),
    speed("mnist", [250.0]),
    speed("mnist", [900.0], "tf32"),
    peer("cifar10", "graph+bf16", 8.0, 2.5),
    peer("cifar10", "bf16", 5.0, 4.0),
    {
        "kind": "peer",
        "stage": "peer",
        "config": "cifar10",
        "variant": "compile",
        "error": "WorkerError: no | luck\nat all",
    },
    seeds(1, 250.0),
    seeds(8, 150.0),
    {"kind": "stage", "stage": "options", "seconds": 0.0, "error": "not run: out of time (3 s left, 50 s needed)"},
]


def test_targets():
    lines = {line["target"]: (line["measured"], line["met"]) for line in targets(RECORDS)}
    assert lines == {
        "cifar10, bfloat16, iterations/s": (20.0, True),
        "cifar10, times the peer's best": (2.5, True),
        "mnist, bfloat16, one seed, iterations/s": (250.0, False),
        "mnist, seed-iterations/s in total": (1200.0, True),
        "mnist, one seed, times the peer's best": (None, None),
        "mnist, seeds in total, times the peer's best": (None, None),
    }
    with_peer = {line["target"]: line for line in targets([*RECORDS, peer("mnist", "bf16", 200.0, 1.25)])}
    assert with_peer["mnist, one seed, times the peer's best"]["measured"] == 1.25
    assert with_peer["mnist, seeds in total, times the peer's best"]["measured"] == 6.0


def test_the_best_variant_is_the_fastest_that_ran():
    assert best_peer(RECORDS, "cifar10")["variant"] == "graph+bf16"
    assert best_peer(RECORDS, "mnist") is None


def test_the_tables():
    text = markdown(RECORDS)
    assert "1 x NVIDIA H100 80GB HBM3, cuda 13000" in text
    assert "No GPU" not in text
    assert "| cifar10, bfloat16 | 19.0 / 20.0 / 21.0 | 20.0 | 27.6% | 20.0% | 2.50 / 2.50 / 2.50 (graph+bf16) |" in text
    assert "| mnist, tf32 | 900.0 / 900.0 / 900.0 | 900.0 | 27.6% | 20.0% |  |" in text
    assert "4.0 + 20.0" in text
    assert "| 8 | 150.0 / 150.0 / 150.0 | 1200.0 / 1200.0 / 1200.0 |" in text
    assert "config=cifar10, variant=compile | WorkerError: no / luck at all |" in text
    assert "| options | stage | seconds=0.0 | not run: out of time (3 s left, 50 s needed) |" in text
    assert "Correctness" not in text


def test_a_run_without_a_gpu_says_so():
    assert "No GPU: this was a tiny run" in markdown([{**HARDWARE, "platform": "cpu"}])


def test_both_files_are_written_from_what_there_is(tmp_path):
    for record in RECORDS:
        append(tmp_path, record)
    with open(tmp_path / RESULTS, "a") as file:
        file.write('{"kind": "speed", "con')  # a crash
    assert read(tmp_path) == RECORDS
    text = write(tmp_path)
    assert (tmp_path / "gpu.md").read_text() == text == markdown(RECORDS)
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"targets": targets(RECORDS), "records": RECORDS}


def test_a_long_error_keeps_its_last_line():
    error = f"WorkerError: python ended with 1:\n{'x' * 900}\nVariantError: needs a CUDA device"
    text = markdown([{"kind": "peer", "stage": "peer", "variant": "graph", "error": error}])
    assert "| WorkerError: python ended with 1: x" in text
    assert "VariantError: needs a CUDA device |" in text
    assert "x" * 400 not in text


def test_numbers_and_cells():
    assert spread([3.0, 1.0, 2.0]) == "1.0 / 2.0 / 3.0"
    assert table(("a",), [["x|y\nz"]]) == ["| a |", "| --- |", "| x/y z |"]


@pytest.mark.parametrize("records", [[], [{"kind": "stage", "stage": "headline", "seconds": 1.0, "error": "killed"}]])
def test_nothing_measured_is_a_report_too(records):
    assert "not measured" in markdown(records)
