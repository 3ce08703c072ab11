"""Make a demo actor's clip: a public-domain portrait that turns, blinks and speaks nonsense; its motion is known.

The portraits come with scikit-image (Eileen Collins, NASA) and matplotlib (Grace Hopper, US Navy). They show real
people, so the speech has no words, and the file says that the clip is synthetic.
"""

import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import matplotlib.cbook
import matplotlib.image
import numpy as np
import skimage.data
import torch
from scipy.ndimage import gaussian_filter1d

from models.face_parameters import REFERENCE
from pipeline.babble import RATE, babble
from pipeline.cli import run
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.face_tracker import FaceTracker
from pipeline.manifest import find
from pipeline.progress import progress
from pipeline.provenance import NO_CONFIG, Config, record
from pipeline.puppet import EYE_CORNERS, Act, Puppet
from pipeline.sound import write_sound

FPS = 25
QUALITY = 14  # x264's constant rate factor: close to the drawn frames
NETWORKS = ("face_mesh", "face_detector")  # find the face in the portrait
COMMENT = "Synthetic: an animated portrait photograph with nonsense speech, made by MyPortrait for demonstration"

# Head, hair and neck in px of the photograph, clockwise from the left of the neck
COLLINS_OUTLINE = """
190,205 187,182 186,172 186,158 183,147 182,132 178,132 174,128 171,121 166,117 160,110 155,100 154,88 153,72 154,62
160,53 170,45 180,39 189,33 192,29 200,25 212,21 222,18 229,15 238,16 248,18 258,22 268,28 277,34 286,41 292,51 297,62
300,74 301,86 300,97 297,107 290,117 281,127 277,131 272,136 267,137 265,145 261,155 257,165 255,174 254,185 252,205"""
HOPPER_OUTLINE = """
245,408 230,393 218,378 208,363 204,357 207,350 207,330 203,317 200,299 190,293 177,288 167,282 162,270 161,257 163,240
162,231 157,222 154,212 153,196 156,188 152,182 151,152 153,130 154,111 156,106 158,100 163,94 172,87 174,84 175,75
180,65 190,55 200,48 211,42 219,39 221,32 232,27 245,24 262,23 277,27 293,37 300,41 310,42 327,50 343,63 353,78 354,88
363,87 367,93 370,113 372,143 369,163 368,182 373,190 376,200 372,217 367,237 364,257 361,267 360,277 353,293 343,305
335,305 330,312 330,318 329,330 323,347 312,363 300,377 287,392 277,405"""


class Actor(NamedTuple):
    photo: Callable[[], np.ndarray]  # (H, W, 3) uint8 RGB
    square: tuple[float, float, float]  # left, top, side of what the clip shows of the photograph, px
    outline: str
    brows: float  # as `Puppet`
    voice: float  # pitch, Hz
    seed: int  # added, so that the actors never move alike


def _hopper() -> np.ndarray:
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg") as file:
        return matplotlib.image.imread(file, format="jpg").copy()  # it comes read-only


ACTORS = {
    "Astronaut": Actor(skimage.data.astronaut, (108, -6, 238), COLLINS_OUTLINE, 0.1, 205.0, 100),
    "Admiral": Actor(_hopper, (8, -20, 504), HOPPER_OUTLINE, 0.03, 150.0, 200),
}


def main(
    *,
    actor: Literal["Astronaut", "Admiral"],
    networks: Path,
    out: Path,
    seconds: float,
    size: int,
    seed: int,
    config: Config = NO_CONFIG,
) -> None:
    """Make a demo actor's clip.

    Args:
        actor: whose.
        networks: folder of the networks' files: the face mesh finds the face in the portrait.
        out: mp4 to write.
        seconds: its length.
        size: side of the picture, px, even.
        seed: of motion and speech.
        config: what of the configuration shaped the clip.
    """
    puppet = make_puppet(actor, networks, size)
    act, sound = script(actor, seconds, seed)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as folder:
        speech = Path(folder) / "speech.wav"
        write_sound(speech, sound, RATE)
        with VideoWriter(
            out,
            size=size,
            fps=Fraction(FPS),
            frames=len(act.yaw),
            sound=speech,
            quality=QUALITY,
            comment=COMMENT,
            record=record("pipeline.make_actor", [find(name, networks) for name in NETWORKS], config),
        ) as video:
            for numbers in progress(zip(*act, strict=True), name=f"{actor}: clip", unit="frames", total=len(act.yaw)):
                video.write(puppet.render(Act(*numbers))[None])
    print(f"{actor}: {len(act.yaw)} frames of {size}x{size} px")


def script(actor: str, seconds: float, seed: int) -> tuple[Act, np.ndarray]:
    """The truth: what the actor does in every frame, (N,) arrays, and the speech, (T,) at `babble.RATE`."""
    seed += ACTORS[actor].seed
    random = np.random.default_rng(seed)
    speech = babble(seconds, FPS, ACTORS[actor].voice, seed)
    count = len(speech.open)

    def sway(pace: float, reach: float) -> np.ndarray:
        """Smooth noise that stays within `reach`; `pace` in s."""
        noise = gaussian_filter1d(random.standard_normal(count + 400), pace * FPS)[200:-200]
        spread = np.sqrt(2 * np.sqrt(np.pi) * pace * FPS)  # makes its standard deviation 1
        return reach * np.tanh(0.8 * spread * noise)

    stress = gaussian_filter1d(speech.open, 0.12 * FPS)  # heads nod a little to the syllables
    glances = _glances(random, count)
    act = Act(
        yaw=sway(0.8, 15),
        pitch=sway(0.8, 7.5) + 3 * (stress - stress.mean()),
        roll=sway(1.0, 8),
        tx=sway(1.2, 0.06),
        ty=sway(1.2, 0.04),
        open=speech.open,
        pucker=speech.pucker,
        smile=sway(1.2, 0.6) + 0.2,
        brow=sway(0.5, 1.2).clip(0, 1),
        blink=_blinks(random, count),
        gx=glances[:, 0],
        gy=glances[:, 1],
    )
    return act, speech.sound


def _glances(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 2) in [-1, 1]: eyes rest for .4 to 1.4 s, then jump within two frames."""
    stays = random.integers(0.4 * FPS, 1.4 * FPS, count)
    targets = random.uniform(-1, 1, (count, 2)) * [1, 0.8]
    return gaussian_filter1d(np.repeat(targets, stays, axis=0)[:count], 0.5, axis=0)


def _blinks(random: np.random.Generator, count: int) -> np.ndarray:
    """(count,) in [0, 1]: every 1.6 to 4.4 s the lids fall within two frames and rise within four."""
    shape = np.array([0.4, 1, 0.95, 0.6, 0.3, 0.1])
    hits = np.zeros(count + len(shape))
    starts = np.cumsum(random.integers(1.6 * FPS, 4.4 * FPS, count))
    hits[starts[starts < count]] = 1
    return np.convolve(hits, shape)[:count]


def make_puppet(actor: str, networks: Path, size: int) -> Puppet:
    """Find the face in an actor's portrait and cut the portrait to a square of `size` px around it."""
    who = ACTORS[actor]
    photo = who.photo()
    tracker = FaceTracker(*(find(name, networks) for name in NETWORKS), torch.device("cpu"))
    track = tracker.track(lambda: [photo[None]])
    if not track.valid.all():
        raise InputError(
            f"{networks}: the face mesh finds no face in the bundled portrait; delete its files and run again"
        )
    landmarks = track.mesh[0]  # (478, 3) px
    left, top, side = who.square
    scale = size / side
    matrix = np.array([[scale, 0, -scale * left], [0, scale, -scale * top]])
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    square = cv2.warpAffine(photo, matrix, (size, size), flags=smooth, borderMode=cv2.BORDER_REFLECT)
    outline = np.array([point.split(",") for point in who.outline.split()], float)
    # The mesh's own depth is too flat (see models/face_parameters.py)
    unit = np.linalg.norm(np.subtract(*landmarks[list(EYE_CORNERS), :2]))
    placed = np.hstack([landmarks[:, :2] - [left, top], np.load(REFERENCE)[:, 2:] * unit]) * scale
    return Puppet(square, placed, (outline - [left, top]) * scale, who.brows)


if __name__ == "__main__":
    run(main)
