"""Cut one fixed square around the face out of a clip, on a regular clock, with its sound.

The camera does not move, so neither does the crop: the background is kept, and the head's place is learned. The clip is
decoded twice, once to see times, repeated pictures and faces, once to cut, so that its length never fills the memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from pipeline.cli import run
from pipeline.clock import settle
from pipeline.device import pick_device
from pipeline.errors import InputError
from pipeline.face_tracker import follow
from pipeline.files import sha256, whole
from pipeline.media import probe, read_frames
from pipeline.progress import progress
from pipeline.sound import copy_sound
from pipeline.stores import FramesWriter
from pipeline.trackers import FaceName, open_face_tracker

SOUND_RATE = 16000  # Hz
THUMBNAIL = 64  # px: changes are seen on pictures this small, where compression noise is averaged out
PART = 8  # pixels of the thumbnail that have to change: a moving mouth is enough, a speck is not
BATCH = 4  # frames of the clip in memory at once
LOOKED = 640  # px: the longer side, at most, of a picture in which faces are looked for
CUT = 25  # grey levels: where the whole picture changes by more from one frame to the next, it is another
FLASH = 5  # frames: a picture shown for less is no scene
PAUSE = 2.0  # s: a clip whose clock jumps by more, and by more than PAUSES of its steps, is not one recording
PAUSES = 5


@dataclass(frozen=True)
class Scene:
    """A sudden change of the whole picture."""

    start: int  # frame
    before: np.ndarray  # the last thumbnail before
    first: np.ndarray  # its own first thumbnail


@dataclass(frozen=True)
class Look:
    """What the first look at a clip of N frames found."""

    times: np.ndarray  # (N,) s
    changes: np.ndarray  # (N,) change since the frame before in the part of the picture that changes most, grey levels
    looked: list[int]  # frames in which a face was looked for
    face: dict[int, np.ndarray]  # those that show the person -> box (4,): centre x and y, side in px, roll
    others: list[int]  # those that show other people only
    scenes: list[Scene]  # where the whole picture changes at once
    width: int
    height: int


def main(
    *,
    video: Path,
    networks: Path,
    out: Path,
    audio: Path,
    size: int,
    margin: float,
    stride: int,
    min_found: float,
    repetition: float,
    tracker: FaceName,
    device: str,
) -> None:
    """Crop.

    Args:
        video: the clip.
        networks: folder of the networks' files.
        out: frame store to write.
        audio: wav file to write: mono, 16 kHz, as long as the frames; silence where the clip has no sound.
        size: side of the stored frames, px.
        margin: side of the crop over the extent of the clip's face boxes; the crop never leaves the picture.
        stride: a face is looked for in one frame of so many.
        min_found: smallest part of those frames that must show the face.
        repetition: a picture that changes less than this part of its neighbours repeats the one before.
        tracker: "mediapipe" or "deca" (face-alignment's detector).
        device: "cpu", "cuda" or "auto".
    """
    stated = probe(video)
    detect = open_face_tracker(tracker, networks, pick_device(device)).detect
    look = first_look(video, detect, stride, stated.frames)
    require_one_recording(video, look)
    require_face(video, look, min_found)
    clock = settle(look.times, look.changes, stated.rates, repetition)
    box = crop_box(np.stack(list(look.face.values())), look.width, look.height, margin)
    samples = round(len(clock.picks) / clock.fps * SOUND_RATE)
    origin = {"source": Path(video).name, "sha256": sha256(video)}
    with (
        whole(audio) as waiting,
        FramesWriter(out, size=size, fps=clock.fps, box=box, **origin) as store,
        progress(name=f"{Path(video).stem}: cut", unit="frames", total=len(clock.picks)) as bar,
    ):
        copy_sound(video if stated.sound else None, waiting, SOUND_RATE, samples=samples, start=clock.start)
        for batch in cut(video, clock.picks, box, size):
            store.append(batch)
            bar.update(len(batch))
    print(
        f"{Path(video).name}: {look.width}x{look.height} px, {len(look.times)} frames, {clock.repeated} repeated; "
        f"{len(clock.picks)} frames at {float(clock.fps):.3f} frames/s; face in {len(look.face)} of {len(look.looked)} "
        f"frames looked at; box of {box[2]} px at ({box[0]}, {box[1]})"
    )
    if look.others:
        print(
            f"{Path(video).name}: {len(look.others)} of the frames looked at show another face, or the same one "
            f"elsewhere, the first at {look.times[look.others[0]]:.2f} s: only who is seen most is followed"
        )
    if not stated.sound:
        print(f"{Path(video).name}: has no sound; {audio} is silence")


def first_look(video: Path, detect: Callable, stride: int, frames: int | None) -> Look:
    """Decode the whole clip, keeping numbers only.

    `detect` finds the faces in a batch of frames; `frames` is how many the file says it has.
    """
    times, changes, looked, detections, waiting, scenes, before, form = [], [], [], [], [], [], None, None
    watched = progress(read_frames(video), name=f"{Path(video).stem}: look", unit="frames", total=frames)
    for number, frame in enumerate(watched):
        if times and frame.form != form:
            raise InputError(
                f"{video}: frame {number} ({frame.time:.2f} s) changes the picture's size; convert the clip"
            )
        form = frame.form
        small = frame.thumbnail(THUMBNAIL).ravel()
        change = np.abs(small - (small if before is None else before))
        changes.append(np.partition(change, -PART)[-PART])
        if change.mean() > CUT:
            scenes.append(Scene(number, before, small))
        times.append(frame.time)
        before = small
        if number % stride == 0:
            looked.append(number)
            height, width = frame.image.shape[:2]
            scale = max(1.0, max(width, height) / LOOKED)
            waiting.append(shrunk(frame.image, scale))
        if len(waiting) == BATCH:
            detections += detect(np.stack(waiting))[0]
            waiting = []
    if waiting:
        detections += detect(np.stack(waiting))[0]
    face = {looked[i]: box * (scale, scale, scale, 1) for i, box in follow(detections).items()}
    others = [frame for frame, boxes in zip(looked, detections, strict=True) if len(boxes) and frame not in face]
    return Look(np.array(times), np.array(changes), looked, face, others, scenes, width, height)


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """A picture with so many times shorter sides."""
    return cv2.resize(image, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) if scale > 1 else image


def require_one_recording(video: Path, look: Look) -> None:
    """Raise an InputError where the clip's clock jumps, or where it cuts from one scene with people to another."""
    steps = np.diff(look.times)
    longest = max(PAUSE, PAUSES * np.median(steps)) if len(steps) else 0
    for frame in np.flatnonzero((steps < 0) | (steps > longest))[:1] + 1:
        before, after = look.times[frame - 1 : frame + 1]
        raise InputError(
            f"{video}: at frame {frame} the clock jumps from {before:.2f} s to {after:.2f} s; cut the clip there and "
            "use one part"
        )
    frame = other_scene(look.scenes, [*look.face, *look.others])
    if frame is not None:
        raise InputError(
            f"{video}: frame {frame} ({look.times[frame]:.2f} s) cuts to another scene; cut the clip there and use one "
            "part"
        )


def other_scene(scenes: list[Scene], shown: list[int]) -> int | None:
    """The first frame of a scene with people that differs from the one with people before it.

    Black in between is no scene, as nobody is in it, nor is a flash; `shown` are the frames in which somebody is.
    """
    last = None  # thumbnail: the end of the scene with people before
    for scene, following in zip([None, *scenes], [*scenes, None], strict=True):
        start, stop = scene.start if scene else 0, following.start if following else np.inf
        if stop - start >= FLASH and any(start <= frame < stop for frame in shown):
            if last is not None and np.abs(scene.first - last).mean() > CUT:
                return start
            last = following.before if following else None
    return None


def require_face(video: Path, look: Look, least: float) -> None:
    """Raise an InputError if less than this part of the frames looked at, or none at all, shows the person."""
    missing = [frame for frame in look.looked if frame not in look.face]
    if look.face and len(look.face) >= least * len(look.looked):
        return
    first, what = missing[0], "another face only" if missing[0] in look.others else "no face"
    raise InputError(
        f"{video}: frame {first} ({look.times[first]:.2f} s) shows {what}, as {len(missing)} of the {len(look.looked)} "
        "frames looked at; cut such parts out, or record with the head larger in the picture"
    )


def crop_box(faces: np.ndarray, width: int, height: int, margin: float) -> tuple[int, int, int]:
    """Left, top and side in px of the square around all face boxes (n, 4), moved to lie inside the picture.

    The outermost hundredth on each side is left out: a single wrong box must not widen the crop.
    """
    centres, halves = faces[:, :2], faces[:, 2:3] / 2
    low, high = np.percentile(centres - halves, 1, axis=0), np.percentile(centres + halves, 99, axis=0)
    side = min(round(margin * (high - low).max()), width, height)
    left, top = (low + high - side) / 2
    return round(np.clip(left, 0, width - side)), round(np.clip(top, 0, height - side)), side


def cut(video: Path, picks: np.ndarray, box: tuple[int, int, int], size: int) -> Iterator[np.ndarray]:
    """Decode again and yield batches (n, size, size, 3) of the crops of the frames `picks`."""
    left, top, side = box
    method = cv2.INTER_AREA if size < side else cv2.INTER_CUBIC
    batch, place = [], 0
    for number, frame in enumerate(read_frames(video)):
        times = int(np.searchsorted(picks, number, "right")) - place  # how often this frame is shown
        if times:
            square = frame.image[top : top + side, left : left + side]
            batch += [cv2.resize(square, (size, size), interpolation=method)] * times
            place += times
        if len(batch) >= BATCH:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


if __name__ == "__main__":
    run(main)
