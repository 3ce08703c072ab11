"""Put a result where the user asked for it: the video, the side-by-side, and the figures on the screen."""

import json
import shutil
from pathlib import Path

import numpy as np

from pipeline import stores
from pipeline.cli import run
from pipeline.files import whole
from pipeline.media import VideoWriter, read_frames
from pipeline.pictures import resized

COMMENT = "Synthetic on the right: rendered by MyPortrait beside its driver or the truth"


def main(
    *, video: Path, metrics: Path, frames: Path, audio: Path, out: Path, side_by_side: Path, first: float, quality: int
) -> None:
    """Present.

    Args:
        video: the rendered video.
        metrics: its figures.
        frames, audio: frame store and sound of the driver, or of the truth.
        out: the video for the user.
        side_by_side: driver or truth left, result right, both at the result's size.
        first: where in the store the video begins, as a part of its length.
        quality: x264's constant rate factor.
    """
    with stores.open_frames(frames) as store:
        start = round(len(store) * first)
        size = len(next(read_frames(video)).image)
        with VideoWriter(
            side_by_side,
            size=(2 * size, size),
            fps=store.fps,
            sound=audio,
            sound_start=float(start / store.fps),
            quality=quality,
            comment=COMMENT,
        ) as writer:
            for index, frame in enumerate(read_frames(video), start):
                writer.write(np.concatenate([resized(store.frames[index], size), frame.image], 1)[None])
    with whole(out) as temporary:
        shutil.copyfile(video, temporary)
    print(f"\n{table(json.loads(metrics.read_text()))}\n")
    print(f"video         {out}\nside by side  {side_by_side}\nfigures       {metrics}")


def table(report: dict) -> str:
    """The figures, one a line, in words; what is missing says why."""
    lines = []
    for name, value in report.items():
        if name not in ("missing", "measured_with"):
            shown = f"-  ({report['missing'][name]})" if value is None else f"{value:.4g}"
            lines.append(f"  {name:<12} {shown}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
