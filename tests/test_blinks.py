"""Shut eyes lent to other frames, on drawn faces."""

import cv2
import numpy as np
import pytest
import torch

from models.face_parameters import REFERENCE, FaceParameters, sixty_eight
from pipeline import training
from pipeline.blinks import LID_NUMBERS, borrow_eyes, lenders, shut_eyes
from pipeline.errors import InputError
from tests.stores_for_tests import write_clip

SIZE = 96
NEUTRAL = np.load(REFERENCE)
UPPER, LOWER = (160, 159, 158, 385, 386, 387), (144, 145, 153, 380, 374, 373)
SKIN, EYE = 200, 40


def mesh(closed: float, angle: float = 0.0, eyes: float = 30.0, at: tuple = (48, 40)) -> np.ndarray:
    """(478, 3) px: the reference face, its upper lids `closed` of the way down, turned by `angle` rad."""
    face = NEUTRAL.copy()
    face[UPPER, 1] += closed * (face[LOWER, 1] - face[UPPER, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    face[:, :2] = face[:, :2] @ turn.T * eyes + at
    return face.astype(np.float32)


def landmarks(mesh: np.ndarray) -> np.ndarray:
    return sixty_eight(torch.from_numpy(mesh))[:, :2].numpy()


def skin(light: int = 0) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8, lighter to the right."""
    return (np.repeat(np.linspace(SKIN - 40, SKIN, SIZE)[None, :, None], SIZE, 0) + np.full(3, light)).astype(np.uint8)


def drawn(points: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: dark eyes on skin; shut, they are lines."""
    picture = skin()
    for eye in (slice(36, 42), slice(42, 48)):
        cv2.fillConvexPoly(picture, points[eye].round().astype(np.int32), (EYE, EYE, EYE))
    return picture


def expression(*closed: float) -> np.ndarray:
    found = FaceParameters(torch.from_numpy(NEUTRAL))(torch.from_numpy(np.stack([mesh(part) for part in closed])), SIZE)
    return found["expression"].numpy()


def test_eyes_are_shut_by_the_gap_of_their_lids():
    assert shut_eyes(expression(0, 0.3, 0.7, 1), NEUTRAL).tolist() == [False, False, True, True]


def test_as_many_borrow_as_make_up_the_share_evenly_and_from_all_blinks():
    shut, valid = np.zeros(100, bool), np.ones(100, bool)
    shut[[10, 60]], valid[70:80] = True, False
    lent = lenders(shut, valid, share=0.2)
    assert len(lent) == 18 - 2 and set(lent.values()) == {10, 60}
    assert not {10, 60, *range(70, 80)} & set(lent)
    assert np.diff(sorted(lent)).max() <= 17 and min(lent) < 10 and max(lent) > 80


@pytest.mark.parametrize(("blinks", "share"), [([], 0.25), (range(40), 0.25), ([3], 0)])
def test_nobody_borrows_without_blinks_or_need(blinks, share):
    shut = np.zeros(100, bool)
    shut[list(blinks)] = True
    assert lenders(shut, np.ones(100, bool), share) == {}


def test_shut_eyes_are_laid_where_the_open_ones_were():
    awake, asleep = landmarks(mesh(0)), landmarks(mesh(1, angle=0.3, eyes=24, at=(56, 50)))
    before, lender = drawn(awake), skin(light=30)
    cv2.line(lender, *(asleep[[36, 39]].round().astype(int).tolist()), (90, 90, 90))  # the lashes of the left one
    after = borrow_eyes(before, awake, lender, asleep).astype(int)
    across, down = awake[42:48].mean(0).round().astype(int)
    assert before[down, across, 0] == EYE and after[down, across, 0] > SKIN - 30, "its skin has this picture's light"
    left = awake[[36, 39]].mean(0).round().astype(int)
    dark = after[left[1] - 2 : left[1] + 3, left[0], 0]
    assert dark.min() < SKIN - 60, "the lashes came along, between this face's corners"
    assert np.array_equal(after[65:], before[65:]) and np.array_equal(after[:20], before[:20])


@pytest.mark.parametrize("at", [(0, 40), (48, -4), (95, 95), (200, 200)])
def test_a_face_at_the_pictures_edge_keeps_its_form(at):
    awake, asleep = landmarks(mesh(0, at=at)), landmarks(mesh(1))
    after = borrow_eyes(drawn(awake), awake, drawn(asleep), asleep)
    assert after.shape == (SIZE, SIZE, 3) and after.dtype == np.uint8


@pytest.fixture
def clip(tmp_path):
    """A clip of 40 frames; its eyes are shut in frame 7 alone."""
    parts = np.zeros(40)
    parts[7] = 1
    meshes = np.stack([mesh(part) for part in parts])
    points = np.stack([landmarks(each) for each in meshes])
    words = {"mesh": meshes, "landmarks": points, "neutral": NEUTRAL.astype(np.float32)}
    values = expression(*parts)
    values[:, :32] += np.arange(40, dtype=np.float32)[:, None] / 40  # lips and brows move meanwhile
    return write_clip(tmp_path / "Anna", frames=40, size=SIZE, expression=values, **words)


def loaded(clip: dict, blinks: float) -> training.Performing:
    place = torch.device("cpu")
    return training.load_performing(**clip, audio=None, size=SIZE, held_out=0.5, blinks=blinks, device=place)


def test_pictures_and_lids_are_borrowed_together_and_nothing_else(clip):
    plain, lent = loaded(clip, 0), loaded(clip, 0.25)
    changed = (lent.motion["expression"] != plain.motion["expression"]).any(1).nonzero()[:, 0]
    assert len(changed) == 20 * 0.25 - 1
    others = [place for place in range(50) if place not in LID_NUMBERS]
    assert torch.equal(lent.motion["expression"][:, others], plain.motion["expression"][:, others])
    lids = lent.motion["expression"][:, LID_NUMBERS]
    assert torch.equal(lids[changed], lids[7].expand(len(changed), -1))
    redrawn = (lent.images != plain.images).flatten(1).any(1).nonzero()[:, 0]
    assert torch.equal(redrawn, changed)


def test_a_clip_without_blinks_is_named(tmp_path, capsys):
    neutral, values = NEUTRAL.astype(np.float32), expression(*np.zeros(8))
    clip = write_clip(tmp_path / "Anna", frames=8, expression=values, neutral=neutral)
    loaded(clip, 0.25)
    assert "Anna: no shut eyes among the frames to learn from" in capsys.readouterr().out


def test_a_tracker_that_sees_no_lids_is_named(tmp_path):
    none = {"mesh": np.zeros((8, 0, 3), np.float32), "neutral": np.zeros((0, 3), np.float32), "tracker": "DECA"}
    clip = write_clip(tmp_path / "Anna", frames=8, **none)
    assert len(loaded(clip, 0).images) == 4
    with pytest.raises(InputError, match=r"face\.h5: DECA does not see lids.*set blinks: 0"):
        loaded(clip, 0.25)
