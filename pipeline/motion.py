"""Motion parameters of a clip: what drives a portrait. Loading, transfer between people, nearest neighbours."""

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from models.audio import neighbours
from pipeline import stores
from pipeline.errors import InputError

Motion = dict[str, Tensor]  # name -> (N, d) float32; pose 6, expression 50, gaze 2, position 3; audio (N, 8, 16, 29)
Transfer = Literal["relative", "direct"]
Driving = Literal["video", "audio"]
WIDTHS = {  # what a portrait takes of the motion; the audio is made into so many numbers
    "video": {"pose": 6, "expression": 50, "gaze": 2, "position": 3},
    "audio": {"pose": 6, "audio": 32, "position": 3},
}
TRACKED = ("pose", "expression", "gaze", "position")
JAW = slice(3, 6)  # of the pose
EXPRESSION_FLOOR = 0.2  # of its spread: the tracker's own noise


def still_motion(count: int, device: torch.device) -> Motion:
    """(count, d) of a face that does nothing; 0.3 is its size, by which is divided."""
    motion = {name: torch.zeros(count, width, device=device) for name, width in WIDTHS["video"].items()}
    motion["position"][:, 2] = 0.3
    return motion


def load_motion(face: Path, gaze: Path, audio: Path | None = None) -> tuple[Motion, Tensor]:
    """Read a clip's motion and its validity mask (N,) bool from its stores.

    With sound features the motion is that of a speech-driven portrait: the jaw is taken out of the pose, as the sound
    moves it. Its expression is there to learn from, not to drive with.
    """
    stores.require_one_clip(face, gaze, *([audio] if audio is not None else []))
    face_store, gaze_store = stores.read_face(face), stores.read_gaze(gaze)
    arrays = {name: getattr(face_store, name) for name in ("pose", "expression", "position")} | {
        "gaze": gaze_store.gaze
    }
    motion = {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in arrays.items()}
    if audio is not None:
        windows = torch.from_numpy(stores.read_audio(audio).audio)
        motion["audio"] = neighbours(windows, torch.arange(len(windows)))
        motion["pose"][:, JAW] = 0
    return motion, torch.from_numpy(face_store.valid)


def learned_frames(frames: int, held_out: float) -> int:
    """How many of a clip's frames, from its start, training may see."""
    return round(frames * (1 - held_out))


def load_learned(face: Path, gaze: Path, held_out: float) -> tuple[Motion, Tensor]:
    """The target's motion in the frames that training may see and that show a face, and their indices (n,)."""
    motion, valid = load_motion(face, gaze)
    index = valid[: learned_frames(len(valid), held_out)].nonzero()[:, 0]
    if len(index) < 2:
        raise InputError(f"{face}: only {len(index)} of the frames to learn from show a face; use another clip")
    return take(motion, index), index


def take(motion: Motion, index: Tensor | slice) -> Motion:
    """The frames of `index`."""
    return {name: value[index] for name, value in motion.items()}


def join(motions: list[Motion]) -> Motion:
    """One motion after the other."""
    return {name: torch.cat([motion[name] for motion in motions]) for name in motions[0]}


def to(motion: Motion, device: torch.device) -> Motion:
    return {name: value.to(device) for name, value in motion.items()}


def neutral(motion: Motion) -> Motion:
    """How the person is most of the time: (1, d) medians. Expression and jaw are zero at rest already, by the tracker:
    the jaw's median is that of a mouth half open where somebody talks, and would not go with a face at rest."""
    rest = {name: motion[name].median(0, keepdim=True).values for name in TRACKED}
    rest["expression"].zero_()
    rest["pose"][:, JAW] = 0
    return rest


def transferred(motion: Motion, own: Motion, target: Motion, how: Transfer) -> Motion:
    """The driver's motion as the target's parameters.

    Args:
        motion: the driver's, (N, d).
        own, target: `neutral` of driver and target.
        how: "direct" gives the driver's coefficients as they are (the paper); "relative" keeps each person's neutral:
            the driver's departures from their own are added to the target's, shifts measured in face sizes.
    """
    if how == "direct":
        return motion
    shift = {name: motion[name] - own[name] + target[name] for name in ("pose", "expression", "gaze")}
    ratio = target["position"][:, 2:] / own["position"][:, 2:]
    centre = (motion["position"][:, :2] - own["position"][:, :2]) * ratio + target["position"][:, :2]
    return motion | shift | {"position": torch.cat([centre, motion["position"][:, 2:] * ratio], 1)}


def smoothed(motion: Motion, sigma: float) -> Motion:
    """A Gaussian over time on the tracked values, `sigma` in frames; 0 leaves them as they are."""
    if not sigma:
        return motion
    tracked = {name: gaussian_filter1d(motion[name].numpy(), sigma, axis=0, mode="nearest") for name in TRACKED}
    return motion | {name: torch.from_numpy(values) for name, values in tracked.items()}


def standardised(motion: Motion, by: Motion) -> Motion:
    """Each tracked value from the mean of `by` (M, d) in units of its spread, (N, d), weighted by its part's number of
    dimensions, so that fifty expression values do not swamp the pose."""
    result = {}
    for name in TRACKED:
        mean, spread = by[name].mean(0), by[name].std(0).clamp_min(1e-4)
        result[name] = (motion[name] - mean) / spread / motion[name].shape[1] ** 0.5
    return result


def nearest(queries: Motion, keys: Motion) -> Tensor:
    """For each query the index of the nearest key frame, (N,): the texture frame t of eq. 4.

    Distance over pose, expression and gaze, standardised by the keys.
    """

    def rows(motion: Motion) -> Tensor:
        parts = standardised(motion, by=keys)
        return torch.cat([parts[name] for name in ("pose", "expression", "gaze")], 1)

    key_rows = rows(keys)
    return torch.cat([torch.cdist(some, key_rows).argmin(1) for some in rows(queries).split(1024)])
