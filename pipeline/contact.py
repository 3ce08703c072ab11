"""Lay every target driven by every other clip out in one video: a column per driver, a row per target."""

from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import count
from math import ceil
from pathlib import Path

import cv2
import numpy as np

from pipeline import stores
from pipeline.cli import run
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.media import read_frames
from pipeline.pictures import resized
from pipeline.progress import progress
from pipeline.provenance import NO_CONFIG, Config, record

FPS = 25  # of the contact video; the clips differ
CELL = 128  # side of a picture, px
STRIP = 24  # height of the drivers' names above the pictures, px
ROUNDING = 1e-6  # s: of times as floats
PAPER, INK = 24, (235, 235, 235)
COMMENT = "Synthetic: rendered by MyPortrait, but for the drivers' row and the diagonal, which are the clips themselves"


def main(*, frames: list[Path], videos: list[Path], out: Path, quality: int, config: Config = NO_CONFIG) -> None:
    """Contact.

    Args:
        frames: frame stores of the clips, each in a folder of the clip's name; two or more.
        videos: the rendered videos target by target, each target's in the order of its drivers in `frames`.
        out: the contact video, 25 frames/s without sound, as long as the longest clip; who has ended stands still.
        quality: x264's constant rate factor, lower is better; 0 to 51.
        config: what of the configuration shaped the video.

    Raises:
        InputError: a file cannot be read, or there is not one video for every target and other clip.
    """
    names = [path.parent.name for path in frames]
    pairs = [(target, driver) for target in range(len(names)) for driver in range(len(names)) if target != driver]
    if len(videos) != len(pairs):
        raise InputError(f"{out}: {len(names)} clips make {len(pairs)} videos, not {len(videos)}; name each once")
    canvas = blank(names)
    with ExitStack() as opened:
        clips = [opened.enter_context(stores.open_frames(path)) for path in frames]
        own = [at_ticks(zip(clip.time, clip.frames, strict=True)) for clip in clips]
        results = {pair: at_ticks(shown_in(path)) for pair, path in zip(pairs, videos, strict=True)}
        height, width = canvas.shape[:2]
        ticks = max(ceil(len(clip) / clip.fps * FPS) for clip in clips)
        with VideoWriter(
            out,
            size=(width, height),
            fps=Fraction(FPS),
            frames=ticks,
            sound=None,
            quality=quality,
            comment=COMMENT,
            record=record("pipeline.contact", [*frames, *videos], config),
        ) as writer:
            for _ in progress(range(ticks), name="grid", unit="frames", total=ticks):
                for number, pictures in enumerate(own):
                    cell(canvas, 0, number)[:] = cell(canvas, 1 + number, number)[:] = next(pictures)
                for (target, driver), pictures in results.items():
                    cell(canvas, 1 + target, driver)[:] = next(pictures)
                writer.write(canvas[None])


def at_ticks(frames: Iterator[tuple[float, np.ndarray]]) -> Iterator[np.ndarray]:
    """Yield without end the picture shown k / `FPS` s after the first frame, k = 0, 1, ...: (CELL, CELL, 3) uint8.

    After the last frame that one stays.

    Args:
        frames: time in s and picture (S, S, 3) of each.
    """
    start, image = next(frames)
    picture, following = resized(image, CELL), next(frames, None)
    for tick in count():
        while following is not None and following[0] - start <= tick / FPS + ROUNDING:
            picture, following = resized(following[1], CELL), next(frames, None)
        yield picture


def shown_in(video: Path) -> Iterator[tuple[float, np.ndarray]]:
    return ((frame.time, frame.image) for frame in read_frames(video))


def blank(names: list[str]) -> np.ndarray:
    """The contact picture without cells, uint8: drivers' names above the columns, targets' names left of the rows."""
    canvas = np.full((STRIP + CELL * (1 + len(names)), CELL * (1 + len(names)), 3), PAPER, np.uint8)
    write_in(canvas[STRIP : STRIP + CELL, :CELL], "driver")
    for number, name in enumerate(names):
        write_in(canvas[:STRIP, CELL * (1 + number) : CELL * (2 + number)], name)
        write_in(canvas[STRIP + CELL * (1 + number) : STRIP + CELL * (2 + number), :CELL], name)
    return canvas


def cell(canvas: np.ndarray, row: int, column: int) -> np.ndarray:
    """View of a (CELL, CELL, 3) cell; row 0 is the drivers', row 1 the first target's."""
    return canvas[STRIP + CELL * row :, CELL * (1 + column) :][:CELL, :CELL]


def write_in(plate: np.ndarray, name: str) -> None:
    """Write a name in the middle of `plate` (H, W, 3), in place; a long one is written smaller."""
    scale, font = 0.42, cv2.FONT_HERSHEY_SIMPLEX
    wide = cv2.getTextSize(name, font, scale, 1)[0][0]
    scale *= min(1, (plate.shape[1] - 8) / wide)
    (width, height), _ = cv2.getTextSize(name, font, scale, 1)
    corner = (plate.shape[1] - width) // 2, (plate.shape[0] + height) // 2
    cv2.putText(plate, name, corner, font, scale, INK, 1, cv2.LINE_AA)


if __name__ == "__main__":
    run(main)
