"""The tracker for one picture at a time, against the one for clips."""

from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from models.face_mesh import FaceDetector
from models.face_parameters import REFERENCE, FaceParameters, fit_neutral
from models.live_face import FRAME, NEUTRAL_FRAMES, FaceFinder, FaceReader, NeutralFace
from pipeline.face_tracker import FaceTracker
from pipeline.motion import neutral


@pytest.fixture(scope="module")
def frame() -> torch.Tensor:
    """(FRAME, FRAME, 4) uint8 with a face."""
    picture = skimage.data.astronaut()[:FRAME, :FRAME]
    return torch.from_numpy(np.concatenate([picture, np.full_like(picture[..., :1], 255)], 2))


@pytest.fixture(scope="module")
def neutral_face() -> torch.Tensor:
    return torch.from_numpy(np.load(REFERENCE)).float()


def test_the_best_face_is_the_detectors_first(frame, face_mesh_weights):
    image = frame[..., :3].permute(2, 0, 1)[None] / 255
    (faces,) = FaceDetector(face_mesh_weights[1]).find(image)
    box, score = FaceFinder(face_mesh_weights[1])(frame)
    assert torch.allclose(box, faces.boxes[:1], atol=0.01) and torch.allclose(score, faces.scores[:1])


def test_a_picture_without_a_face_has_a_low_score(face_mesh_weights):
    _, score = FaceFinder(face_mesh_weights[1])(torch.full((FRAME, FRAME, 4), 128, dtype=torch.uint8))
    assert score < FaceDetector.MIN_SCORE


def test_a_face_is_read_as_the_clips_tracker_reads_it(frame, neutral_face, face_mesh_weights):
    box = torch.tensor([[225.0, 115.0, 190.0, 0.05]])
    read = FaceReader(face_mesh_weights[0])(frame, box, neutral_face)
    tracker = FaceTracker(*map(Path, face_mesh_weights), torch.device("cpu"))
    landmarks, there = tracker.landmarks(frame[None, ..., :3].numpy(), box.double().numpy())
    assert there[0] and read.presence > 0.5 and np.allclose(read.landmarks, landmarks, atol=1e-3)
    for name, values in FaceParameters(neutral_face)(torch.from_numpy(landmarks), FRAME).items():
        assert torch.allclose(getattr(read, name), values, atol=1e-4), name


def test_the_face_at_rest_is_what_a_clips_neutral_would_be(neutral_face):
    noise = torch.Generator().manual_seed(0)
    landmarks = neutral_face * 100 + FRAME / 2 + torch.randn(NEUTRAL_FRAMES, 478, 3, generator=noise)
    rest = NeutralFace()(landmarks)
    assert torch.equal(rest.neutral, fit_neutral(landmarks))
    motion = FaceParameters(rest.neutral)(landmarks, FRAME)
    for name in ("pose", "gaze", "position"):
        assert torch.equal(getattr(rest, name), neutral(motion)[name][0])
