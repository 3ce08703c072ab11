"""MediaPipe's face networks on one camera picture at a time, as modules without branches: `pipeline.export_tracker`
writes them as files that run without this project.

A picture is (FRAME, FRAME, 4) uint8 RGBA, the square that a browser's canvas holds.
"""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.face_mesh import FaceDetector, FaceMesh, box_of, box_of_detection, crop_faces, overlap, to_image
from models.face_parameters import FaceParameters, neutral_of

FRAME = 480  # px, side of the picture
NEUTRAL_FRAMES = 30  # pictures that a neutral face is taken from


class Reading(NamedTuple):
    """One face; see models.face_parameters for the last five."""

    landmarks: Tensor  # (1, 478, 3) px
    presence: Tensor  # (1,) in [0, 1]: that the box held a face
    next_box: Tensor  # (1, 4) where to look in the next picture
    pose: Tensor  # (1, 6)
    expression: Tensor  # (1, 50)
    gaze: Tensor  # (1, 2)
    position: Tensor  # (1, 3)
    openness: Tensor  # (1,)


class FaceFinder(nn.Module):
    """The best face of a picture.

    Args:
        path: face_detection_short_range.tflite; errors as `FaceDetector`.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.detector = FaceDetector(path)

    def forward(self, frame: Tensor) -> tuple[Tensor, Tensor]:
        """frame -> box (1, 4), the first that `FaceDetector.find` gives where the score (1,) is above its MIN_SCORE."""
        logits, points = self.detector(image_of(frame))
        scores, points = logits[0].sigmoid(), points[0]  # (896,), (896, 8, 2)
        best = scores.argmax(0, keepdim=True)
        same = overlap(points[best][0], points) > self.detector.MIN_OVERLAP
        weight = torch.where(same & (scores > self.detector.MIN_SCORE), scores, 0)[:, None, None]
        merged = (points * weight).sum(0) / weight.sum().clamp_min(1e-6)
        return box_of_detection(merged)[None], scores[best]


class FaceReader(nn.Module):
    """Landmarks and parameters of the face in a box.

    Args:
        path: face_landmark_with_attention.tflite; errors as `FaceMesh`.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.mesh = FaceMesh(path)

    def forward(self, frame: Tensor, box: Tensor, neutral: Tensor) -> Reading:
        """frame, box (1, 4), neutral (478, 3) of the person, or the reference -> Reading."""
        mesh = self.mesh(crop_faces(image_of(frame), box))
        landmarks = to_image(mesh.landmarks, box)
        found = FaceParameters(neutral)(landmarks, FRAME)
        return Reading(landmarks, mesh.presence.sigmoid(), box_of(landmarks), **found)


class Neutral(NamedTuple):
    """A person at rest: their face, and what `pipeline.motion.neutral` takes."""

    neutral: Tensor  # (478, 3) eye distances
    pose: Tensor  # (6,)
    gaze: Tensor  # (2,)
    position: Tensor  # (3,)
    openness: Tensor  # () of the eyes


class NeutralFace(nn.Module):
    """How a person is at rest, from landmarks (NEUTRAL_FRAMES, 478, 3) px."""

    def forward(self, landmarks: Tensor) -> Neutral:
        neutral = neutral_of(landmarks)
        found = FaceParameters(neutral)(landmarks, FRAME)
        rest = {name: found[name].median(0).values for name in Neutral._fields[1:]}
        rest["pose"] = torch.cat([rest["pose"][:3], torch.zeros(3)])  # of the jaw: no shift from the neutral
        return Neutral(neutral, **rest)


def image_of(frame: Tensor) -> Tensor:
    """(S, S, 4) uint8 -> (1, 3, S, S) in [0, 1]."""
    return frame[..., :3].permute(2, 0, 1)[None].float() / 255
