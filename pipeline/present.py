"""Put a result where the user asked for it: the video, the side-by-side, and the figures on the screen."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline import pictures, provenance, stores
from pipeline.cli import run
from pipeline.files import whole
from pipeline.media import VideoWriter, read_frames
from pipeline.pictures import resized
from pipeline.provenance import NO_CONFIG, RENDERED, Config

BESIDE = "Synthetic on the right: rendered by MyPortrait beside its driver or the truth"


def main(
    *,
    video: Path,
    metrics: Path,
    frames: Path,
    audio: Path,
    out: Path,
    side_by_side: Path,
    first: float,
    quality: int,
    label: str,
    config: Config = NO_CONFIG,
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
        label: written into a corner of the result, after it was measured; empty: nothing.
        config: what of the configuration shaped this, beside what the video says.
    """
    made = provenance.record("pipeline.present", [frames, audio], config, shown=provenance.read(video))
    with stores.open_frames(frames) as store:
        start = round(len(store) * first)
        size = len(next(read_frames(video)).image)
        about = {"fps": store.fps, "sound": audio, "sound_start": start / store.fps, "quality": quality, "record": made}
        with VideoWriter(side_by_side, size=(2 * size, size), comment=BESIDE, **about) as writer:
            for index, picture in enumerate(shown(video, label), start):
                writer.write(np.concatenate([resized(store.frames[index], size), picture], 1)[None])
    if label:
        with VideoWriter(out, size=size, comment=RENDERED, **about) as writer:
            for picture in shown(video, label):
                writer.write(picture[None])
    else:
        with whole(out) as temporary:
            shutil.copyfile(video, temporary)
    print(f"\n{table(json.loads(metrics.read_text()))}\n")
    print(f"video         {out}\nside by side  {side_by_side}\nfigures       {metrics}")


def shown(video: Path, label: str) -> Iterator[np.ndarray]:
    """The video's pictures, (S, S, 3) uint8, with the label in the lower right corner."""
    for frame in read_frames(video):
        yield pictures.label(frame.image, label, across=1) if label else frame.image


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
