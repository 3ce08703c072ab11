"""Measure a rendered video: against its driver always, against the truth where there is one.

The video is decoded and tracked again, as a viewer would get it. What could not be measured is null, with the reason.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from pipeline import metrics, stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.files import sha256, whole
from pipeline.likeness import Pair, csim, fid, lpips
from pipeline.manifest import find, licences, read_manifest
from pipeline.media import read_frames
from pipeline.motion import Motion, Transfer, load_learned, load_motion, nearest, neutral, smoothed, take, transferred
from pipeline.pictures import resized
from pipeline.progress import passes
from pipeline.sound import read_sound
from pipeline.trackers import Batches, FaceName, GazeName, open_face_tracker, open_gaze_tracker

PIXELS = ("l1", "psnr", "ssim", "mouth_l1")
KEYS = (
    *(*PIXELS, "lpips", "fid", "csim"),
    *("apd", "aed", "gaze", "landmarks", "r_yaw", "r_roll", "r_mouth", "r_lids", "jitter"),
    *("face_found", "frames", "fps"),
)
NO_TRUTH = "no truth to compare with: the driver is another person"
NOT_ASKED = "not asked for: see measure.{} in the config"
BY_MOUTH = ("apd", "aed", "landmarks", "r_mouth")  # figures in which the mouth counts
SPOKEN = "the sound moves the mouth, the driver only the head: see measured_with.speech"
NOBODY = "no truth to compare with: nobody was filmed saying this"
SOUND_RATE = 16000  # Hz
NO_FACE = "no face found in the result: train longer, or use a clip that shows the person better"
FLAT = "one of the two curves does not move"
SHUT = "no frame in which driver and result both have open eyes"


@dataclass(frozen=True)
class Trackers:
    """The driver's trackers, which measure the result too."""

    face: FaceName
    gaze: GazeName


@dataclass(frozen=True)
class Likeness:
    """Figures that need networks of their own."""

    lpips: bool
    fid: bool
    identity: str  # file of the identity network for CSIM; "": none

    def networks(self) -> list[str]:
        return [name for name in ("lpips", "fid") if getattr(self, name)]

    def identity_licence(self) -> dict[str, str]:
        name = Path(self.identity).name
        known = {entry.file: entry.licence for entry in read_manifest().values()}
        return {name: known.get(name, "unknown: a file of your own")} if self.identity else {}


@dataclass(frozen=True)
class Person:
    """Stores of one person."""

    frames: Path
    face: Path
    gaze: Path


def main(
    *,
    video: Path,
    driver: Person,
    target: Person,
    networks: Path,
    out: Path,
    tracked: Path,
    trackers: Trackers,
    likeness: Likeness,
    size: int,
    held_out: float,
    first: float,
    transfer: Transfer,
    smoothing: float,
    blink: float,
    batch: int,
    device: str,
    auxiliary: Path | None = None,
    speech: Path | None = None,
) -> None:
    """Measure.

    Args:
        video: the rendered video, by this project or another, with as many frames as the driver.
        driver, target: their stores; the same where a person drives their own portrait.
        networks: folder of the networks' files.
        out: the figures, JSON.
        tracked: face store of the video.
        size: side of the picture at which all is compared, px.
        held_out: part of the target's clip, from its end, that training never saw.
        first: where in the driver the video begins, as a part of its length.
        transfer, smoothing: as in rendering.
        blink: as in tracking the gaze; no gaze is compared where the driver or the result shuts the eyes.
        batch: frames looked at once.
        device: "cpu", "cuda" or "auto".
        auxiliary: names of the clips that lent their motion to Stage II, one a line.
        speech: the sound that moved the mouth, if the driver's face did not.
    """
    for person in (driver, target):
        stores.require_one_clip(person.frames, person.face)
    place = pick_device(device)
    own, learned = load_learned(target.face, target.gaze, held_out)
    motion, valid = load_motion(driver.face, driver.gaze)
    start = round(len(valid) * first)
    asked = transferred(smoothed(motion, smoothing), neutral(take(motion, valid)), neutral(own), transfer)
    asked, led = take(asked, slice(start, None)), stores.read_face(driver.face).since(start)
    looking = stores.read_gaze(driver.gaze).valid[start:]
    result, truth = partial(decoded, video, size, batch), partial(stored, driver.frames, size, batch, start)
    result = passes(result, len(led.valid), f"{out.name.split('.')[0]}: result")

    # track the video again
    face = open_face_tracker(trackers.face, networks, place).track(result, size, stores.read_face(target.face).neutral)
    if len(face.valid) != len(led.valid):
        raise InputError(
            f"{video}: {len(face.valid)} frames where the driver has {len(led.valid)}; render it again, frame for frame"
        )
    stores.write_face(tracked, replace(face, clip=sha256(video)))
    both = face.valid & led.valid
    with stores.open_frames(driver.frames) as clip:
        fps, driver_size = clip.fps, clip.size

    # compare
    figures: dict[str, float | None] = dict.fromkeys(KEYS)
    figures |= {"face_found": float(face.valid.mean()), "frames": len(face.valid), "fps": float(fps)}
    asks = {"lpips": "lpips", "fid": "fid", "csim": "identity"}
    missing = {name: NOT_ASKED.format(key) for name, key in asks.items() if not getattr(likeness, key)}
    with_what = {}
    if both.sum() >= 2:
        gaze = open_gaze_tracker(trackers.gaze, networks, place, blink).track(result, face, fps)
        figures |= against_asked(face, gaze, asked, both, both & gaze.valid & looking)
        figures |= against_landmarks(face, led, both, size, driver_size)
        missing["gaze"] = SHUT
    if driver.face.samefile(target.face):
        figures |= against_truth(result, truth, led.landmarks * size / driver_size)
        if likeness.lpips:
            figures["lpips"], with_what["lpips"] = lpips(result, truth, find("alexnet", networks))
    else:
        missing |= dict.fromkeys((*PIXELS, "lpips"), NO_TRUTH)
    if likeness.fid:
        with stores.open_frames(target.frames) as clip:
            count = len(clip)
        real = passes(partial(stored, target.frames, size, batch, 0), count, f"{target.frames.parent.name}: clip")
        figures["fid"], with_what["fid"] = fid(result, real, find("inception", networks), place)
    if likeness.identity and face.valid.any():
        reference = learned[nearest(asked, own)].numpy()  # the learned frame whose motion is nearest
        pairs = faces_beside(result, face, target, reference)
        figures["csim"], with_what["csim"] = csim(pairs, Path(likeness.identity), place)
    if speech is not None:
        figures |= dict.fromkeys(BY_MOUTH)
        missing |= dict.fromkeys(BY_MOUTH, SPOKEN) | dict.fromkeys((*PIXELS, "lpips"), NOBODY)
        with_what["speech"] = metrics.synchrony(
            metrics.mouth_opening(face.landmarks), metrics.loudness(read_sound(speech, SOUND_RATE), len(face.valid))
        )
    led_motion = metrics.landmark_motion(led.landmarks, led.position, driver_size, led.valid)
    reason = NO_FACE if both.sum() < 2 else FLAT
    lenders = auxiliary.read_text().split() if auxiliary else []
    measured_with = {
        "tracker": f"{face.tracker}, weights sha256 {face.weights[:12]}",
        "reference": "apd, aed, gaze (open eyes): mean |difference| to what was asked for; r, landmarks: driver",
        "crop": f"whole picture, {size} x {size}; mouth: box of the mouth's landmarks, half as wide again",
        "units": "l1 [0, 1]; psnr dB; apd, gaze rad; aed the tracker's own; landmarks, jitter face sizes",
        **with_what,
        "licences": licences([trackers.face, trackers.gaze, *likeness.networks()]) | likeness.identity_licence(),
        "transfer": transfer,
        "driver_jitter": metrics.jitter(led_motion, led.valid),
        "driver_frames_tracked": float(led.valid.mean()),
        "auxiliary": lenders,
        "driver_among_auxiliary": speech is None and driver.face.parent.name in lenders,
    }
    missing = {name: missing.get(name, reason) for name in KEYS if figures[name] is None}
    write(out, {**figures, "missing": missing, "measured_with": measured_with})


def decoded(video: Path, size: int, batch: int) -> Iterator[np.ndarray]:
    """The video's frames, (n, size, size, 3) uint8 with n at most `batch`."""
    waiting = []
    for frame in read_frames(video):
        if frame.image.shape[0] != frame.image.shape[1]:
            raise InputError(f"{video}: not square; a result shows the same square as the target's frames")
        waiting.append(resized(frame.image, size))
        if len(waiting) == batch:
            yield np.stack(waiting)
            waiting = []
    if waiting:
        yield np.stack(waiting)


def stored(frames: Path, size: int, batch: int, start: int) -> Iterator[np.ndarray]:
    """A clip's frames from `start` on, (n, size, size, 3) uint8 with n at most `batch`."""
    with stores.open_frames(frames) as store:
        for begin in range(start, len(store), batch):
            yield np.stack([resized(frame, size) for frame in store.frames[begin : begin + batch]])


def against_truth(result: Batches, truth: Batches, landmarks: np.ndarray) -> dict[str, float]:
    """Pixel figures, each the mean over the frames; `landmarks` (N, 68, 2) px of the truth at the result's size."""
    rows = []
    for images, real in zip(result(), truth(), strict=True):
        for image, same in zip(images, real, strict=True):
            mouth = metrics.mouth_box(landmarks[len(rows)], len(image))
            compared = metrics.l1(image, same), metrics.psnr(image, same), metrics.ssim(image, same)
            rows.append((*compared, metrics.l1(image[mouth], same[mouth])))
    return dict(zip(PIXELS, np.mean(rows, 0).tolist(), strict=True))


def against_asked(
    face: stores.Face, gaze: stores.Gaze, asked: Motion, both: np.ndarray, looking: np.ndarray
) -> dict[str, float | None]:
    """How well the motion found in the result follows the motion that was asked for.

    In the frames `both`, (N,) bool; the gaze in the frames `looking`, in which both are seen with open eyes.
    """
    pose, wanted = face.pose[both], asked["pose"].numpy()[both]
    return {
        "apd": metrics.mean_distance(pose, wanted),
        "aed": metrics.mean_distance(face.expression[both], asked["expression"].numpy()[both]),
        "gaze": metrics.mean_distance(gaze.gaze[looking], asked["gaze"].numpy()[looking]) if looking.any() else None,
        "r_yaw": metrics.pearson(pose[:, 1], wanted[:, 1]),
        "r_roll": metrics.pearson(pose[:, 2], wanted[:, 2]),
    }


def against_landmarks(
    face: stores.Face, led: stores.Face, both: np.ndarray, size: int, led_size: int
) -> dict[str, float | None]:
    """How well the result's landmarks, px of `size`, follow the driver's, px of `led_size`, in the frames `both`."""
    own = metrics.landmark_motion(face.landmarks, face.position, size, both)
    wanted = metrics.landmark_motion(led.landmarks, led.position, led_size, both)
    return {
        "landmarks": metrics.landmark_distance(own[both], wanted[both]),
        "r_mouth": metrics.pearson(*(metrics.mouth_opening(each.landmarks[both]) for each in (face, led))),
        "r_lids": metrics.pearson(*(metrics.eye_opening(each.landmarks[both]) for each in (face, led))),
        "jitter": metrics.jitter(own, both),
    }


def faces_beside(result: Batches, face: stores.Face, target: Person, reference: np.ndarray) -> Iterator[Pair]:
    """Each frame of the result with a face, and the target's frame `reference` names for it, with their landmarks."""
    landmarks = stores.read_face(target.face).landmarks
    with stores.open_frames(target.frames) as store:
        for index, image in enumerate(image for images in result() for image in images):
            if face.valid[index]:
                other = reference[index]
                yield (image, face.landmarks[index]), (store.frames[other], landmarks[other])


def write(out: Path, report: dict) -> None:
    """Write the figures, numbers rounded to what they mean."""
    rounded = {name: round(value, 5) if isinstance(value, float) else value for name, value in report.items()}
    with whole(out) as temporary:
        temporary.write_text(json.dumps(rounded, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
