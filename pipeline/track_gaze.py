"""Track the gaze of a clip from the irises of its face mesh."""

from pathlib import Path

import numpy as np
import torch

from models.face_parameters import FaceParameters
from pipeline import stores
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.face_tracker import bridge

CHUNK = 1024  # frames whose parameters are computed at once


def main(*, face: Path, out: Path, blink: float) -> None:
    """Track the gaze.

    Args:
        face: face store of the clip, from a tracker with a mesh.
        out: gaze store to write.
        blink: eyes open less than this part of the person's median are blinking: the gaze is bridged.
    """
    store = stores.read_face(face)
    if store.mesh.shape[1:] != (478, 3):
        raise InputError(f"{face}: {store.tracker} keeps no face mesh to read the irises from; choose another tracker")
    if not store.valid.any():
        raise InputError(f"{face}: no frame shows a face; run the tracker again on a better clip")
    gaze, openness = measured(torch.from_numpy(store.mesh), torch.from_numpy(store.neutral))
    open_eyes = openness >= blink * np.median(openness[store.valid])
    valid = store.valid & open_eyes
    stores.write_gaze(
        out, stores.Gaze(bridge(gaze, valid), valid, tracker=f"irises, {store.tracker}", weights=store.weights)
    )
    print(f"gaze seen in {valid.sum()} of {len(valid)} frames, eyes shut in {(store.valid & ~open_eyes).sum()}")


def measured(mesh: torch.Tensor, neutral: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Gaze (N, 2) and openness of the eyes (N,) of landmarks (N, 478, 3)."""
    measure = FaceParameters(neutral)
    with torch.inference_mode():  # the frames' size matters to the position only
        found = [measure(part, size=1) for part in mesh.split(CHUNK)]
    return tuple(torch.cat([part[name] for part in found]).numpy() for name in ("gaze", "openness"))


if __name__ == "__main__":
    run(main)
