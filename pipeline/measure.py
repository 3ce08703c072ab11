"""Measure a rendered video: against its driver always, against the truth where there is one.

The video is decoded and tracked again, as a viewer would get it. What could not be measured is null, with the reason.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from models.face_parameters import FaceParameters, mouth_opening, sixty_eight
from pipeline import metrics, stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.face_tracker import FaceTracker
from pipeline.files import sha256, whole
from pipeline.media import read_frames
from pipeline.motion import Motion, Transfer, load_motion, neutral, take, transferred
from pipeline.pictures import resized
from pipeline.portrait import load_portrait

KEYS = (
    *("l1", "psnr", "ssim", "mouth_l1", "lpips", "fid", "csim"),
    *("apd", "aed", "gaze", "landmarks", "r_yaw", "r_roll", "r_mouth", "jitter", "face_found", "frames", "fps"),
)
NO_TRUTH = "no truth to compare with: the driver is another person"
NO_WEIGHTS = "needs weights that this configuration does not have"
NO_FACE = "no face found in the result: train longer, or use a clip that shows the person better"
FLAT = "one of the two curves does not move"


def main(
    *,
    video: Path,
    portrait: Path,
    auxiliary: Path,
    face: Path,
    gaze: Path,
    frames: Path,
    target_face: Path,
    mesh_model: Path,
    detector_model: Path,
    out: Path,
    first: float,
    transfer: Transfer,
    batch: int,
    device: str,
) -> None:
    """Measure.

    Args:
        video: the rendered video.
        portrait: that rendered it.
        auxiliary: names of the clips that lent their motion to Stage II, one a line.
        face, gaze, frames: stores of the driver.
        target_face: face store of the target; equal to `face` where a person drives their own portrait.
        mesh_model, detector_model: weights of the tracker.
        out: the figures, JSON.
        first: where in the driver the video begins, as a part of its length.
        transfer: as in rendering.
        batch: frames tracked at once.
        device: "cpu", "cuda" or "auto".
    """
    place = pick_device(device)
    person = load_portrait(portrait, torch.device("cpu"))
    motion, valid = load_motion(face, gaze)
    start = round(len(valid) * first)
    asked = take(transferred(motion, neutral(take(motion, valid)), person.neutral, transfer), slice(start, None))
    driver = stores.read_face(face)

    # track the video again
    size = person.layout.size
    tracker = FaceTracker(mesh_model, detector_model, place)
    track = tracker.track(lambda: batches(video, batch))
    parameters = FaceParameters(torch.from_numpy(stores.read_face(target_face).neutral))
    mesh = torch.from_numpy(track.mesh)
    found = parameters(mesh, size)
    landmarks = sixty_eight(mesh)[..., :2].numpy()
    if len(mesh) != len(valid) - start:
        raise InputError(f"{video}: {len(mesh)} frames where the driver has {len(valid) - start}; delete it, run again")

    # compare
    figures: dict[str, float | None] = dict.fromkeys(KEYS)
    missing = dict.fromkeys(("lpips", "fid", "csim"), NO_WEIGHTS)
    with stores.open_frames(frames) as store:
        figures |= {"face_found": float(track.valid.mean()), "frames": len(mesh), "fps": float(store.fps)}
        wanted = metrics.landmark_motion(driver.landmarks[start:], driver.position[start:], store.size)
        if face.samefile(target_face):
            figures |= against_truth(video, store, driver.landmarks * size / store.size, start, batch)
        else:
            missing |= dict.fromkeys(("l1", "psnr", "ssim", "mouth_l1"), NO_TRUTH)
    both = track.valid & driver.valid[start:]
    if both.sum() >= 2:
        own = metrics.landmark_motion(landmarks[both], found["position"].numpy()[both], size)
        lips = opening(landmarks[both]), opening(driver.landmarks[start:][both])
        figures |= against_driver(take(found, torch.from_numpy(both)), take(asked, torch.from_numpy(both)))
        figures |= {"landmarks": metrics.landmark_distance(own, wanted[both]), "r_mouth": metrics.pearson(*lips)}
        figures |= {"jitter": metrics.jitter(own)}
    reason = NO_FACE if both.sum() < 2 else FLAT
    missing |= {name: reason for name in KEYS if figures[name] is None and name not in missing}
    lenders = auxiliary.read_text().split()
    measured_with = {
        "tracker": f"{driver.tracker}, weights sha256 {sha256(mesh_model)[:12]}",
        "reference": "apd, aed, gaze: mean |difference| to the motion the portrait was asked for; r, landmarks: driver",
        "crop": f"whole picture, {size} x {size}; mouth: box of the mouth's landmarks, half as wide again",
        "units": "l1 [0, 1]; psnr dB; apd, gaze rad; aed 5 % of eye distance; landmarks, jitter face sizes",
        "transfer": transfer,
        "driver_jitter": metrics.jitter(wanted),
        "driver_frames_tracked": float(driver.valid[start:].mean()),
        "auxiliary": lenders,
        "driver_among_auxiliary": face.parent.name in lenders,
    }
    write(out, {**figures, "missing": missing, "measured_with": measured_with})


def batches(video: Path, batch: int) -> Iterator[np.ndarray]:
    """The video's frames, (n, S, S, 3) uint8 with n at most `batch`."""
    waiting = []
    for frame in read_frames(video):
        waiting.append(frame.image)
        if len(waiting) == batch:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def against_truth(video: Path, store: stores.Frames, landmarks: np.ndarray, start: int, batch: int) -> dict[str, float]:
    """Pixel figures, each the mean over the frames; the truth is the store from `start` on, `landmarks` all of its."""
    rows = []
    for images in batches(video, batch):
        for image in images:
            truth = resized(store.frames[start + len(rows)], len(image))
            mouth = metrics.mouth_box(landmarks[start + len(rows)], len(image))
            compared = metrics.l1(image, truth), metrics.psnr(image, truth), metrics.ssim(image, truth)
            rows.append((*compared, metrics.l1(image[mouth], truth[mouth])))
    return dict(zip(("l1", "psnr", "ssim", "mouth_l1"), np.mean(rows, 0).tolist(), strict=True))


def against_driver(found: dict[str, torch.Tensor], asked: Motion) -> dict[str, float | None]:
    """How well the motion found in the result follows the motion that was asked for."""
    found = {name: value.numpy() for name, value in found.items()}
    asked = {name: value.numpy() for name, value in asked.items()}
    return {
        "apd": metrics.mean_distance(found["pose"], asked["pose"]),
        "aed": metrics.mean_distance(found["expression"], asked["expression"]),
        "gaze": metrics.mean_distance(found["gaze"], asked["gaze"]),
        "r_yaw": metrics.pearson(found["pose"][:, 1], asked["pose"][:, 1]),
        "r_roll": metrics.pearson(found["pose"][:, 2], asked["pose"][:, 2]),
    }


def opening(landmarks: np.ndarray) -> np.ndarray:
    """(N, 68, 2) -> (N,) gap between the lips in eye distances."""
    return mouth_opening(torch.from_numpy(landmarks)).numpy()


def write(out: Path, report: dict) -> None:
    """Write the figures, numbers rounded to what they mean."""
    rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in report.items()}
    with whole(out) as temporary:
        temporary.write_text(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
