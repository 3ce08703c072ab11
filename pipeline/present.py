"""Put a result where the user asked for it: the video, and the figures on the screen."""

import json
import shutil
from pathlib import Path

from pipeline import pictures, provenance, stores
from pipeline.cli import run
from pipeline.encoding import VideoWriter
from pipeline.files import whole
from pipeline.media import read_frames
from pipeline.progress import progress
from pipeline.provenance import NO_CONFIG, RENDERED, Config


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
        side_by_side: the same beside its driver or the truth, to be named on the screen.
        first: where in the store the video begins, as a part of its length.
        quality: x264's constant rate factor.
        label: written into a corner of the result, after it was measured; empty: nothing.
        config: what of the configuration shaped this, beside what the video says.
    """
    if label:
        made = provenance.record("pipeline.present", [frames, audio], config, shown=provenance.read(video))
        with stores.open_frames(frames) as store:
            start, fps = round(len(store) * first), store.fps
            count = len(store) - start
        size = len(next(read_frames(video)).image)
        about = {
            "fps": fps,
            "frames": count,
            "sound": audio,
            "sound_start": start / fps,
            "quality": quality,
            "record": made,
        }
        with VideoWriter(out, size=size, comment=RENDERED, **about) as writer:
            for frame in progress(read_frames(video), name=f"{out.stem}: label", unit="frames", total=count):
                writer.write(pictures.label(frame.image, label)[None])
    else:
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
