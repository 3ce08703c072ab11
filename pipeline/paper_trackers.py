"""The paper's trackers: DECA on face-alignment's points, and Gaze360; interfaces as in pipeline.trackers."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

from models.crop_units import crop_units
from models.deca import crop_faces, load_deca
from models.gaze360 import head_boxes, load_gaze360, prepare_heads, windows
from models.landmarks68 import Landmarks68, squares
from pipeline import stores
from pipeline.face_tracker import bridge, follow
from pipeline.files import sha256
from pipeline.manifest import find
from pipeline.trackers import Batches

CHUNK = 1024  # windows seen at once


class DecaFaces:
    """DECA's encoder on crops around face-alignment's 68 points, as the paper uses it, of one person in all frames."""

    name = "DECA on face-alignment's 68 points"

    def __init__(self, networks: Path, device: torch.device):
        self.device = device
        self.deca = find("deca", networks)
        self.points = Landmarks68(find("s3fd", networks), find("fan", networks), device)
        self.detect = self.points.detect
        self.weights = sha256(self.deca)

    @torch.inference_mode()
    def track(self, batches: Batches, size: int, neutral: np.ndarray | None = None) -> stores.Face:
        deca = load_deca(self.deca).to(self.device)
        points, valid, rows = [], [], {"pose": [np.zeros((0, 6))], "expression": [np.zeros((0, 50))]}
        faces = one_person([faces for frames in batches() for faces in self.points.rectangles(frames)])
        for frames in batches():
            here, faces = faces[: len(frames)], faces[len(frames) :]
            landmarks, found = self.points.landmarks(frames, here)
            points.append(landmarks)
            valid.append(found)
            if found.any():
                images = torch.from_numpy(frames[found]).to(self.device).permute(0, 3, 1, 2) / 255
                code = deca(crop_faces(images, torch.from_numpy(landmarks[found]).to(self.device)))
                for name, parts in rows.items():
                    parts.append(code[name].cpu().numpy())
        points, valid = np.concatenate(points), np.concatenate(valid)
        arrays = {name: filled(np.concatenate(parts), valid) for name, parts in rows.items()}
        points = filled(points[valid], valid)
        return stores.Face(
            **arrays,
            position=box_position(points, size),
            landmarks=points,
            mesh=np.zeros((len(valid), 0, 3), np.float32),
            neutral=np.zeros((0, 3), np.float32),
            valid=valid,
            tracker=self.name,
            weights=self.weights,
        )


class Gaze360:
    """The Gaze360 network on seven frames around each."""

    def __init__(self, networks: Path, device: torch.device):
        self.path, self.device = find("gaze360", networks), device

    @torch.inference_mode()
    def track(self, batches: Batches, face: stores.Face, fps: Fraction) -> stores.Gaze:
        net = load_gaze360(self.path).to(self.device)
        features, start = [], 0
        for frames in batches():
            boxes = head_boxes(face.landmarks[start : start + len(frames)], frames.shape[1])
            features.append(net.features(prepare_heads(frames, boxes).to(self.device)))
            start += len(frames)
        features = torch.cat(features)
        around = torch.from_numpy(windows(face.valid, float(fps))).to(self.device)  # (N, 7)
        gaze = torch.cat([net.gaze_of(features[part])[0] for part in around.split(CHUNK)]).cpu().numpy()
        return stores.Gaze(bridge(gaze, face.valid), face.valid, "Gaze360", sha256(self.path))


def one_person(faces: list[np.ndarray]) -> list[np.ndarray]:
    """Of the rectangles (k, 5) in each frame those of the person who is most and largest there: (1, 5) or (0, 5)."""
    followed = follow([squares(each) for each in faces])
    return [
        each[(squares(each) == followed[k]).all(1)][:1] if k in followed else each[:0] for k, each in enumerate(faces)
    ]


def box_position(landmarks: np.ndarray, size: int) -> np.ndarray:
    """(N, 68, 2) px -> (N, 3): centre and side of the box around the landmarks, crop units [-1, 1]."""
    low, high = landmarks.min(1), landmarks.max(1)
    return np.concatenate([crop_units((low + high) / 2, size), (high - low).mean(1, keepdims=True) * 2 / size], 1)


def filled(rows: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Rows (n, ...) of the n valid frames -> (N, ...) float32, the others bridged; zeros where none is valid."""
    values = np.zeros((len(valid), *rows.shape[1:]), np.float32)
    values[valid] = rows
    return bridge(values, valid)
