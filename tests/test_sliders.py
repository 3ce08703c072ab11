"""Sliders: directions in the motion's numbers."""

import pytest
import torch

from models.face_parameters import EXPRESSIVE
from pipeline.motion import neutral
from pipeline.sliders import directions, measures, sliders


def footage(frames: int = 200) -> dict[str, torch.Tensor]:
    noise = torch.Generator().manual_seed(0)

    def random(width: int) -> torch.Tensor:
        return torch.randn(frames, width, generator=noise)

    return {
        "pose": 0.1 * random(6),
        "expression": random(50),
        "gaze": 0.1 * random(2),
        "position": 0.02 * random(3) + torch.tensor([0.0, 0.1, 0.4]),
    }


def test_a_step_along_one_direction_changes_its_own_measure_alone():
    weights = measures()
    changed = directions(footage(), weights)[:, :50] @ weights
    assert torch.allclose(changed, torch.eye(4), atol=1e-4)


def test_measures_know_an_open_mouth_a_smile_raised_brows_and_shut_eyes():
    def face(**shifts: tuple[float, float]) -> torch.Tensor:
        moved = torch.zeros(50)
        for point, (x, y) in shifts.items():
            place = EXPRESSIVE.index(int(point[1:]))
            moved[2 * place], moved[2 * place + 1] = x, y
        return moved @ measures()

    assert face(p14=(0, 2), p87=(0, 2), p317=(0, 2), p17=(0, 2)).argmax() == 0
    assert face(p61=(-1, -1), p291=(1, -1)).argmax() == 1
    assert face(p105=(0, -1), p334=(0, -1), p70=(0, -1)).argmax() == 2
    assert face(p159=(0, 1), p386=(0, 1), p145=(0, -0.2), p374=(0, -0.2)).argmax() == 3


def test_footage_in_which_nothing_moves_still_gives_finite_sliders():
    still = {name: values[:1].expand(20, -1).clone() for name, values in footage().items()}
    for slider in sliders(still, neutral(still), named=True, positioned=True):
        values = [value for steps in slider.direction.values() for value in steps]
        assert slider.low < 0 < slider.high and torch.tensor([slider.low, slider.high, *values]).isfinite().all()


def test_a_slider_reaches_beyond_the_footage_on_both_sides():
    motion = footage()
    still = neutral(motion)
    turn = next(slider for slider in sliders(motion, still, named=True, positioned=True) if slider.id == "yaw")
    degrees = (motion["pose"][:, 1] - still["pose"][0, 1]).rad2deg()
    inside = ((degrees > turn.low) & (degrees < turn.high)).float().mean()
    assert inside > 0.98 and turn.high < 2 * degrees.max()


def test_names_are_given_only_where_the_expressions_places_have_a_meaning():
    motion = footage()
    names = [slider.id for slider in sliders(motion, neutral(motion), named=False, positioned=False)]
    assert "smile" not in names and {"expression_1", "jaw"} <= set(names) and "size" not in names


def test_a_jaw_that_is_read_off_the_mouths_points_goes_with_the_mouth():
    motion = footage()
    motion["pose"][:, 3] = 0.02 * (motion["expression"] @ measures()[:, 0])
    found = {slider.id: slider for slider in sliders(motion, neutral(motion), named=True, positioned=True)}
    step = torch.tensor(found["mouth"].direction["expression"]) @ measures()[:, 0]
    assert "jaw" not in found and found["mouth"].direction["pose"][3] == pytest.approx(0.02 * step.item(), rel=0.1)
