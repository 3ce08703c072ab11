import numpy as np

from pipeline.plots import Trace, draw_losses, draw_traces, read_log, running_mean
from pipeline.sheets import read
from pipeline.training import write_history

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def pixels(picture: np.ndarray, colour: tuple) -> int:
    return int((abs(picture.astype(int) - colour) < 12).all(2).sum())


def test_driver_and_result_have_a_colour_each_on_a_light_ground(tmp_path):
    wave = np.sin(np.arange(100) / 5)
    draw_traces(tmp_path / "a.png", [Trace("yaw", wave, np.full(100, np.nan))] * 2, 25, "driver", 40)
    draw_traces(tmp_path / "b.png", [Trace("yaw", wave, wave + 1)] * 2, 25, "driver", 40)
    alone, both = read(tmp_path / "a.png"), read(tmp_path / "b.png")
    assert (alone[0, 0] == 255).all() and pixels(alone, BLUE) > 300
    assert pixels(both, ORANGE) > pixels(alone, ORANGE) + 300


def test_a_loss_log_comes_back_as_training_wrote_it(tmp_path):
    write_history([{"images": 10, "velocity": 0.5}, {"images": 20, "velocity": 0.25}], tmp_path / "log.tsv")
    log = read_log(tmp_path / "log.tsv")
    assert log["images"].tolist() == [10, 20] and log["velocity"].tolist() == [0.5, 0.25]


def test_every_term_has_axes_of_its_own(tmp_path):
    log = {"images": np.arange(9.0), **{f"term{number}": np.arange(9.0) - 4 for number in range(5)}}
    draw_losses(tmp_path / "five.png", [("Stage I", log)])
    draw_losses(tmp_path / "one.png", [("Stage I", {"images": np.arange(9.0), "term": np.arange(9.0)})])
    assert len(read(tmp_path / "five.png")) > 1.5 * len(read(tmp_path / "one.png"))


def test_what_was_measured_now_and_then_is_one_line_through_its_points(tmp_path):
    images, seldom = np.arange(50.0), np.full(50, np.nan)
    seldom[[0, 20, 49]] = 3, 2, 1
    draw_losses(tmp_path / "seldom.png", [("Stage I", {"images": images, "held_out": seldom})])
    draw_losses(tmp_path / "never.png", [("Stage I", {"images": images, "held_out": seldom * np.nan})])
    assert pixels(read(tmp_path / "seldom.png"), BLUE) > 100 > pixels(read(tmp_path / "never.png"), BLUE)


def test_a_log_without_a_line_is_no_trouble(tmp_path):
    draw_losses(tmp_path / "none.png", [("Stage I", {"images": np.zeros(0), "term": np.zeros(0)})])
    assert (tmp_path / "none.png").exists()


def test_the_smooth_line_keeps_a_constant_and_its_length():
    for count in (1, 3, 50):
        np.testing.assert_allclose(running_mean(np.full(count, 2.0)), 2)
