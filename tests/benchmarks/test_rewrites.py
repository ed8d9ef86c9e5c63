from types import SimpleNamespace

from benchmarks import rewrites
from tests.conftest import tiny_config


def test_one_switch_at_a_time_is_turned_over(monkeypatch):
    configs = []

    def compile_run(config, image_channels, iterations):
        configs.append(dict(config.speed))
        return SimpleNamespace(call=lambda: 1.0 + config.speed.pool_first, facts={"compile_s": 0.0})

    monkeypatch.setattr(rewrites, "compile_run", compile_run)
    default = tiny_config()
    times = rewrites.measure(default, 1, rounds=3, iterations=2, switches=("pool_first", "subpixel"))
    assert times["pool_first"] == {"on": [1.0, 1.0, 1.0], "off": [0.5, 0.5, 0.5]}
    changes = [("pool_first", True), ("pool_first", False), ("subpixel", True), ("subpixel", False)]
    assert configs == [{**default.speed, name: value} for name, value in changes]
