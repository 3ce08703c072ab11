"""Faces and their 68 landmarks as DECA sees them: S3FD and the 2D FAN of the `face-alignment` package, 1.5.0.

The package's networks, detection, crop and decoding are used as they are; its constructors are not, because they
download, compile and keep a cache in the user's home. Its numba code compiles for some seconds at the first face.
"""

from pathlib import Path

import numpy as np
import torch
from face_alignment.detection.sfd.bbox import nms
from face_alignment.detection.sfd.detect import detect
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from face_alignment.utils import CENTER_Y_OFFSET, REFERENCE_SCALE, crop, get_preds_fromhm

from models.checkpoint import load_strictly, read_checkpoint

MIN_SCORE = 0.5  # the package's thresholds
MAX_OVERLAP = 0.3
HOURGLASSES = 4


class Landmarks68:
    """The package's `FaceAlignment(LandmarksType.TWO_D, flip_input=False)`, on given weights.

    Args:
        detector_path: s3fd-619a316812.pth, the state dict of S3FD.
        landmark_path: 2DFAN4-11f355bf06.pth.tar, the state dict of FAN with four hourglasses.

    Raises:
        WeightsError: a file is missing, damaged, or another network's.
    """

    def __init__(self, detector_path: Path, landmark_path: Path, device: torch.device):
        self.device = str(device)  # the package takes names only
        self.detector = load_strictly(s3fd(), read_checkpoint(detector_path), detector_path).to(device)
        self.network = load_strictly(FAN(HOURGLASSES), read_checkpoint(landmark_path), landmark_path).to(device)

    def detect(self, frames: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Upright squares on the faces in each frame, best first.

        Args:
            frames: (n, H, W, 3) RGB uint8.

        Returns:
            For each frame, boxes (k, 4) float64: centre x, centre y, side in px, roll 0. The side is the mean of the
            rectangle's width and height. And scores (k,) in [0.5, 1].
        """
        faces = self.rectangles(frames)
        return [squares(face) for face in faces], [face[:, 4] for face in faces]

    @torch.inference_mode()
    def landmarks(self, frames: np.ndarray, faces: list[np.ndarray] | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Landmarks of the first of these faces in each frame; by default of the best, as `get_landmarks(frame)[0]`.

        Args:
            frames: (n, H, W, 3) RGB uint8.
            faces: `rectangles` (k, 5) in each frame.

        Returns:
            Points (n, 68, 2) float32, x and y in px, whole numbers, zero where there is no face; and whether a face
            was found (n,).
        """
        faces = self.rectangles(frames) if faces is None else faces
        found = np.array([len(face) > 0 for face in faces], bool)
        points = np.zeros((len(frames), 68, 2), np.float32)
        if found.any():
            places = [_centre_and_scale(face[0]) for face in faces if len(face)]
            crops = [crop(frame, *place) for frame, place in zip(frames[found], places, strict=True)]
            inputs = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255  # (m, 3, 256, 256)
            heatmaps = self.network(torch.from_numpy(inputs).to(self.device))[-1].cpu().numpy()  # (m, 68, 64, 64)
            points[found] = [get_preds_fromhm(h[None], *place)[1][0] for h, place in zip(heatmaps, places, strict=True)]
        return points, found

    def rectangles(self, frames: np.ndarray) -> list[np.ndarray]:
        """(k, 5) float64 for each of the frames (n, H, W, 3): left, top, right, bottom in px and score, best first.

        One frame at a time: the package mixes a batch's candidates, which changes which of two equal scores wins.
        """
        found = []
        for frame in frames:
            candidates = detect(self.detector, frame, self.device)[0].reshape(-1, 5)
            best = candidates[nms(candidates, MAX_OVERLAP)]
            found.append(best[best[:, 4] > MIN_SCORE])
        return found


def squares(rectangles: np.ndarray) -> np.ndarray:
    """(k, 5) -> (k, 4): centre x and y, mean of width and height, roll 0; px."""
    x1, y1, x2, y2, _ = rectangles.T
    return np.stack([(x1 + x2) / 2, (y1 + y2) / 2, (x2 - x1 + y2 - y1) / 2, np.zeros_like(x1)], 1)


def _centre_and_scale(rectangle: np.ndarray) -> tuple[np.ndarray, float]:
    """Where FAN looks: centre (2,) in px, and the side of its crop in units of 200 px."""
    x1, y1, x2, y2 = rectangle[:4]
    centre = np.array([x2 - (x2 - x1) / 2, y2 - (y2 - y1) / 2 - (y2 - y1) * CENTER_Y_OFFSET])
    return centre, (x2 - x1 + y2 - y1) / REFERENCE_SCALE
