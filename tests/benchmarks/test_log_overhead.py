import json

import pytest

from benchmarks import log_overhead
from tests.conftest import tiny_config


def test_the_speed_of_the_second_half_is_read_from_the_log(monkeypatch):
    def train(config, workdir):
        rates = {10: None, 20: 100.0, 30: 4.0, 40: 2.0}
        with open(f"{workdir}/metrics.jsonl", "w") as file:
            for iteration in range(config.logging.every, 41, config.logging.every):
                line = {"iteration": iteration, "iterations_per_second": rates[iteration]}
                file.write(json.dumps({name: value for name, value in line.items() if value is not None}) + "\n")

    monkeypatch.setattr(log_overhead, "train", train)
    config = tiny_config()
    config.training.iterations = 40
    assert log_overhead.train_and_time(config, every=10) == pytest.approx((1 / 4 + 1 / 2) / 2)
    assert config.logging.every == 2
