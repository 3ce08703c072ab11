"""The trackers that a configuration chooses from, behind one interface: faces in a clip, and where their eyes look.

A clip is given as `batches`: called, it yields all frames from the first, (n, S, S, 3) uint8 with any n, so that no
tracker ever holds the whole clip.
"""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch

from models.face_parameters import REFERENCE, FaceParameters, fit_neutral, sixty_eight
from pipeline import stores
from pipeline.errors import InputError
from pipeline.face_tracker import FaceTracker, bridge
from pipeline.files import sha256
from pipeline.manifest import find

Batches = Callable[[], Iterable[np.ndarray]]
FaceName = Literal["mediapipe", "deca"]
GazeName = Literal["mediapipe", "gaze360"]
NEUTRAL_FRAMES = 4096  # of a clip, that its person's neutral face is taken from


class Faces(Protocol):
    """A face tracker."""

    def detect(self, frames: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Boxes (k, 4), centre x and y, side and roll, and scores (k,) in each of the frames (n, H, W, 3) uint8."""

    def track(self, batches: Batches, size: int, neutral: np.ndarray | None = None) -> stores.Face:
        """The face in every frame of a clip; frames without one are bridged from those around and marked.

        Args:
            size: side of the frames, px.
            neutral: (478, 3) of the person, for a tracker that measures from it; None: fitted to these frames.
        """


class Gazes(Protocol):
    """A gaze tracker."""

    def track(self, batches: Batches, face: stores.Face, fps: Fraction) -> stores.Gaze:
        """Gaze in every frame of a clip; frames where none can be seen are bridged and marked."""


class MediapipeFaces:
    """MediaPipe's face mesh, turned into parameters (models.face_parameters)."""

    name = "mediapipe face mesh with attention"

    def __init__(self, networks: Path, device: torch.device):
        mesh = find("face_mesh", networks)
        self.tracker = FaceTracker(mesh, find("face_detector", networks), device)
        self.detect = self.tracker.detect
        self.weights = sha256(mesh)

    def track(self, batches: Batches, size: int, neutral: np.ndarray | None = None) -> stores.Face:
        track = self.tracker.track(batches)
        if neutral is None:
            known = np.flatnonzero(track.valid)
            some = track.mesh[known[:: 1 + len(known) // NEUTRAL_FRAMES]]
            neutral = fit_neutral(torch.from_numpy(some)).numpy() if len(known) else np.load(REFERENCE)
        if not track.valid.any():
            track.mesh[:] = np.broadcast_to(neutral, track.mesh.shape)  # nobody: a face at rest, as numbers are finite
        found = mesh_parameters(track.mesh, neutral, size)
        return stores.Face(
            **{name: found[name] for name in ("pose", "expression", "position")},
            landmarks=np.concatenate(
                [sixty_eight(torch.from_numpy(part))[..., :2] for part in stores.chunks(track.mesh)]
            ),
            mesh=track.mesh,
            neutral=neutral,
            valid=track.valid,
            tracker=self.name,
            weights=self.weights,
        )


class IrisGaze:
    """Gaze from the irises of the face mesh."""

    def __init__(self, blink: float):
        """Args: blink: eyes open less than this part of the person's median are shut, and the gaze is bridged."""
        self.blink = blink

    def track(self, batches: Batches, face: stores.Face, fps: Fraction) -> stores.Gaze:
        if not face.has_mesh:
            raise InputError(f"{face.tracker} keeps no face mesh to read irises from; choose components.gaze: gaze360")
        found = mesh_parameters(face.mesh, face.neutral, size=1)  # the size matters to the position only
        open_eyes = found["openness"] >= self.blink * np.median(found["openness"][face.valid])
        valid = face.valid & open_eyes
        return stores.Gaze(bridge(found["gaze"], valid), valid, f"irises, {face.tracker}", face.weights)


def open_face_tracker(name: FaceName, networks: Path, device: torch.device) -> Faces:
    """The face tracker of that name; `networks` is the folder of the networks' files."""
    if name == "mediapipe":
        return MediapipeFaces(networks, device)
    from pipeline.paper_trackers import DecaFaces  # brings libraries that take seconds to import

    return DecaFaces(networks, device)


def open_gaze_tracker(name: GazeName, networks: Path, device: torch.device, blink: float) -> Gazes:
    """The gaze tracker of that name; `blink` as in IrisGaze."""
    if name == "mediapipe":
        return IrisGaze(blink)
    from pipeline.paper_trackers import Gaze360

    return Gaze360(networks, device)


def mesh_parameters(mesh: stores.Rows, neutral: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """Every parameter (N, d) of landmarks (N, 478, 3) in px of frames `size` wide; see models.face_parameters."""
    measure = FaceParameters(torch.from_numpy(neutral))
    with torch.inference_mode():
        found = [measure(torch.from_numpy(part), size) for part in stores.chunks(mesh)]
    return {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}
