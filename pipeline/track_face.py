"""Track the face of a clip: pose, expression, position and landmarks of every frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline import stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.progress import passes
from pipeline.trackers import FaceName, open_face_tracker


def main(
    *,
    frames: Path,
    networks: Path,
    out: Path,
    tracker: FaceName,
    batch: int,
    min_valid: float,
    device: str,
) -> None:
    """Track the face.

    Args:
        frames: frame store of the clip.
        networks: folder of the networks' files.
        out: face store to write.
        tracker: "mediapipe" or "deca".
        batch: frames tracked at once.
        min_valid: smallest part of the frames that must show the face.
        device: "cpu", "cuda" or "auto".
    """
    with stores.open_frames(frames) as store:
        batches = passes(store.batches(batch), len(store), f"{frames.parent.name}: face")
        face = open_face_tracker(tracker, networks, pick_device(device)).track(batches, store.size)
        require_face(face.valid, min_valid, store)
        stores.write_face(out, replace(face, clip=store.identity))
    print(f"face found in {face.valid.sum()} of {len(face.valid)} frames")


def require_face(valid: np.ndarray, least: float, store: stores.Frames) -> None:
    """Raise an InputError if less than this part of the frames, or none at all, shows a face."""
    if valid.mean() >= least and valid.any():
        return
    first = int(np.argmin(valid))
    raise InputError(
        f"{store.source}: a face in only {valid.sum()} of {len(valid)} frames, the first without one is frame {first} "
        f"({store.time[first]:.2f} s); cut such parts out, widen the crop, or use another clip"
    )


if __name__ == "__main__":
    run(main)
