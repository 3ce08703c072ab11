"""Track the face of a clip: MediaPipe's mesh, turned into pose, expression and position."""

from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d

from models.face_parameters import FaceParameters, fit_neutral, sixty_eight
from pipeline import stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.face_tracker import FaceTracker
from pipeline.files import sha256

CHUNK = 1024  # frames whose parameters are computed at once


def main(
    *,
    frames: Path,
    mesh_model: Path,
    detector_model: Path,
    out: Path,
    batch: int,
    min_valid: float,
    smoothing: float,
    device: str,
) -> None:
    """Track the face.

    Args:
        frames: frame store of the clip.
        mesh_model, detector_model: weights of the face tracker.
        out: face store to write.
        batch: frames tracked at once.
        min_valid: smallest part of the frames that must show the face.
        smoothing: sigma in frames of a Gaussian over pose, expression and position; 0: none.
        device: "cpu", "cuda" or "auto".
    """
    tracker = FaceTracker(mesh_model, detector_model, pick_device(device))
    with stores.open_frames(frames) as store:
        track = tracker.track(lambda: (store.frames[i : i + batch] for i in range(0, len(store), batch)))
        require_face(track.valid, min_valid, store)
        size = store.size
    mesh = torch.from_numpy(track.mesh)
    neutral = fit_neutral(mesh[torch.from_numpy(track.valid)])
    face = {name: smoothed(value, smoothing) for name, value in parameters(mesh, neutral, size).items()}
    stores.write_face(
        out,
        stores.Face(
            **face,
            landmarks=sixty_eight(mesh)[..., :2].numpy(),
            mesh=track.mesh,
            neutral=neutral.numpy(),
            valid=track.valid,
            tracker="mediapipe face mesh with attention",
            weights=sha256(mesh_model),
        ),
    )
    print(f"face found in {track.valid.sum()} of {len(track.valid)} frames")


def require_face(valid: np.ndarray, least: float, store: stores.Frames) -> None:
    """Raise an InputError if less than this part of the frames, or none at all, shows a face."""
    if valid.mean() >= least and valid.any():
        return
    first = int(np.argmin(valid))
    raise InputError(
        f"{store.source}: a face in only {valid.sum()} of {len(valid)} frames, the first without one is frame {first} "
        f"({store.time[first]:.2f} s); cut such parts out, widen the crop, or use another clip"
    )


def parameters(mesh: torch.Tensor, neutral: torch.Tensor, size: int) -> dict[str, np.ndarray]:
    """Pose (N, 6), expression (N, 50) and position (N, 3) of landmarks (N, 478, 3) in px of frames `size` wide."""
    measure = FaceParameters(neutral)
    with torch.inference_mode():
        found = [measure(part, size) for part in mesh.split(CHUNK)]
    names = ("pose", "expression", "position")
    return {name: torch.cat([part[name] for part in found]).numpy() for name in names}


def smoothed(values: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma, axis=0, mode="nearest") if sigma else values


if __name__ == "__main__":
    run(main)
