"""Track the gaze of a clip: where the eyes look in every frame."""

from dataclasses import replace
from pathlib import Path

from pipeline import stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.progress import passes
from pipeline.trackers import GazeName, open_gaze_tracker


def main(
    *, frames: Path, face: Path, networks: Path, out: Path, tracker: GazeName, batch: int, blink: float, device: str
) -> None:
    """Track the gaze.

    Args:
        frames: frame store of the clip.
        face: its face store.
        networks: folder of the networks' files.
        out: gaze store to write.
        tracker: "mediapipe" (irises of the face mesh) or "gaze360".
        batch: frames tracked at once.
        blink: eyes open less than this part of the person's median are blinking: the gaze is bridged (mediapipe).
        device: "cpu", "cuda" or "auto".
    """
    stores.require_one_clip(frames, face)
    store = stores.read_face(face)
    if not store.valid.any():
        raise InputError(f"{face}: no frame shows a face; run the tracker again on a better clip")
    with stores.open_frames(frames) as clip:
        batches = passes(clip.batches(batch), len(clip), f"{frames.parent.name}: gaze")
        gaze = open_gaze_tracker(tracker, networks, pick_device(device), blink).track(batches, store, clip.fps)
    stores.write_gaze(out, replace(gaze, clip=store.clip))
    print(f"gaze seen in {gaze.valid.sum()} of {len(gaze.valid)} frames")


if __name__ == "__main__":
    run(main)
