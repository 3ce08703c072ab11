from collections.abc import Callable

import numpy as np
import pytest

from pipeline import progress


@pytest.fixture
def log(monkeypatch, capsys) -> Callable[[], str]:
    """What went to stderr, which is no terminal; a line as often as there is something to say."""
    monkeypatch.setattr(progress, "SOONEST", 0)
    monkeypatch.setattr(progress, "LATER", 0)
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    return lambda: capsys.readouterr().err


def test_a_log_gets_whole_lines_with_done_total_speed_and_time_left(log):
    for _ in progress.progress(range(3), name="Anna: look", unit="frames", total=3):
        pass
    text = log()
    assert "\r" not in text and text.endswith("\n") and "\n\n" not in text
    lines = text.splitlines()
    assert lines[0].startswith("Anna: look: 1 of 3 frames, 33 %, ") and lines[0].endswith(" left")
    assert lines[-1].startswith("Anna: look: 3 of 3 frames, 100 %, ") and lines[-1].endswith(" in all")


def test_lines_grow_rare_the_longer_a_step_takes(log, monkeypatch):
    monkeypatch.setattr(progress, "LATER", 0.47)
    bar = progress.progress(name="slow", unit="frames", total=1000)
    bar.mininterval = 0
    for second in range(1, 101):
        bar.start_t = bar._time() - second
        bar.n += 1
        bar.display()
    said = [int(line.split(":")[1].split()[0]) for line in log().splitlines()]
    assert said == [1, 2, 3, 5, 8, 12, 18, 27, 40, 59, 87]


def test_a_continued_step_counts_what_was_done_before_but_not_into_its_speed():
    now = {"n": 60, "initial": 50, "total": 100, "elapsed": 5, "rate": None, "unit": "images", "prefix": "Stage I"}
    assert progress.line(now) == "Stage I: 60 of 100 images, 60 %, 2 images/s, 00:20 left"


def test_an_unknown_total_is_not_made_up():
    now = {"n": 60, "initial": 0, "total": None, "elapsed": 30, "rate": None, "unit": "frames", "prefix": "look"}
    assert progress.line(now) == "look: 60 frames, 2 frames/s"


def test_every_pass_over_the_batches_is_counted_in_frames(log):
    batches = progress.passes(lambda: [np.zeros((3, 2)), np.zeros((2, 2))], 5, "Anna: face")
    for _ in range(2):
        assert sum(len(batch) for batch in batches()) == 5
    last = [line for line in log().splitlines() if "5 of 5 frames" in line]
    assert [line.split(":")[1] for line in last if "in all" in line] == [" face, pass 1", " face, pass 2"]


def test_a_quiet_process_says_nothing(log):
    list(progress.progress(range(3), name="second process", unit="frames", total=3, quiet=True))
    assert log() == ""
