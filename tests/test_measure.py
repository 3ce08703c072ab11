import numpy as np
import torch

from pipeline import stores
from pipeline.measure import against_asked, against_landmarks
from tests.stores_for_tests import face_of


def moving(frames: int) -> np.ndarray:
    """(N, 68, 2) px: a face that walks steadily to the right, its points apart."""
    points = np.random.default_rng(0).uniform(8, 24, (68, 2))
    return (points + np.arange(frames)[:, None, None] * (0.1, 0)).astype(np.float32)


def test_a_result_that_does_all_the_driver_does_is_not_charged_with_frames_that_show_no_face():
    led, both = face_of(60, landmarks=moving(60)), np.ones(60, bool)
    both[20:40] = False
    lost = moving(60)
    lost[20:40] = np.random.default_rng(1).uniform(0, 32, (20, 68, 2))
    figures = against_landmarks(face_of(60, landmarks=lost), led, both, 32, 32)
    assert figures["landmarks"] < 1e-6 and figures["jitter"] < 1e-6
    assert against_landmarks(face_of(60, landmarks=lost), led, ~both, 32, 32)["landmarks"] > 0.01


def test_gaze_is_compared_where_the_eyes_are_open():
    face, open_eyes = face_of(10), np.arange(10) != 4
    asked = {"pose": face.pose, "expression": face.expression, "gaze": np.zeros((10, 2), np.float32)}
    asked = {name: torch.from_numpy(values) for name, values in asked.items()}
    seen = np.where(open_eyes[:, None], 0.1, 9.0)
    gaze = stores.Gaze(np.tile(seen, 2).astype(np.float32), open_eyes, "test", "")
    every = np.ones(10, bool)
    figures = against_asked(face, gaze, asked, every, open_eyes)
    assert figures["apd"] == figures["aed"] == 0 and abs(figures["gaze"] - 0.1) < 1e-6
    assert against_asked(face, gaze, asked, every, ~every)["gaze"] is None
