"""The log in both forms, as other programs read it: JSON lines, and event files by the tensorboard package."""

import io
import json
import time

import numpy as np
from PIL import Image

from mpcc_jax.training.logging import RunLog


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(folder, tag):
    events = read_events(folder)
    found = tag in events.Tags()["scalars"]
    return [(event.step, round(event.value, 4)) for event in events.Scalars(tag)] if found else []


def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_both_forms_hold_every_line_and_picture_before_the_log_is_closed(tmp_path):
    log = RunLog(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (9, 12, 3)).astype(np.uint8)
    log.write_picture(10, "samples", picture)
    for iteration in (10, 20):
        log.write(iteration, {"loss": iteration / 100, "gradient_norm_encoder": 2, "sizes": [1, 2], "silhouette": None})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines[1] == {"iteration": 20, "loss": 0.2, "gradient_norm_encoder": 2, "sizes": [1, 2], "silhouette": None}
    until(lambda: scalars(tmp_path / "tensorboard", "loss") == [(10, 0.1), (20, 0.2)])
    assert scalars(tmp_path / "tensorboard", "gradient_norm/encoder") == [(10, 2.0), (20, 2.0)]
    (image,) = read_events(tmp_path / "tensorboard").Images("samples")
    np.testing.assert_array_equal(Image.open(io.BytesIO(image.encoded_image_string)), picture)
    log.close()


def test_what_is_done_again_after_a_crash_is_there_once(tmp_path):
    first = RunLog(tmp_path)
    for iteration in (10, 20, 30):
        first.write(iteration, {"loss": 1.0})
    until(lambda: len(scalars(tmp_path / "tensorboard", "loss")) == 3)  # and then the process is killed
    second = RunLog(tmp_path, start=20)
    second.write(30, {"loss": 2.0})
    second.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["iteration"], line["loss"]) for line in lines] == [(10, 1.0), (20, 1.0), (30, 2.0)]
    assert scalars(tmp_path / "tensorboard", "loss") == [(10, 1.0), (20, 1.0), (30, 2.0)]
    first.close()


def test_seeds_have_lines_and_curves_of_their_own(tmp_path):
    log = RunLog(tmp_path, seeds=range(4, 6))
    log.write(10, {"loss": 1.0}, run=0)
    log.write(10, {"loss": 2.0}, run=1)
    log.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["seed"], line["loss"]) for line in lines] == [(4, 1.0), (5, 2.0)]
    assert scalars(tmp_path / "tensorboard" / "seed_5", "loss") == [(10, 2.0)]


def test_without_tensorboard(tmp_path):
    log = RunLog(tmp_path, tensorboard=False)
    log.write(10, {"loss": 1.0})
    log.write_picture(10, "samples", np.zeros((2, 2, 3), np.uint8))
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
