"""Render a portrait with a driver's motion and sound."""

from pathlib import Path

import torch

from pipeline import stores
from pipeline.cli import run
from pipeline.device import pick_device
from pipeline.encoding import VideoWriter
from pipeline.motion import Transfer, load_motion, neutral, smoothed, take, to, transferred
from pipeline.portrait import Renderer, load_portrait
from pipeline.progress import progress
from pipeline.provenance import NO_CONFIG, RENDERED, Config, record


def main(
    *,
    portrait: Path,
    frames: Path,
    face: Path,
    gaze: Path,
    audio: Path,
    out: Path,
    first: float,
    transfer: Transfer,
    smoothing: float,
    batch: int,
    quality: int,
    device: str,
    speech: Path | None = None,
    config: Config = NO_CONFIG,
) -> None:
    """Render.

    Args:
        portrait: of the target.
        frames, face, gaze: stores of the driver.
        audio: sound of the driver, on the same clock.
        out: the video, with as many frames and the same rate as the driver.
        first: where in the driver to begin, as a part of its length: 0 is its start.
        transfer: how the driver's motion becomes the target's, "relative" or "direct".
        smoothing: sigma in frames of a Gaussian over the driver's motion; 0: none.
        batch: frames rendered at once.
        quality: x264's constant rate factor, lower is better; 0 to 51.
        device: "cpu", "cuda" or "auto".
        speech: sound features of the driver, for a portrait driven by audio.
        config: what of the configuration shaped the portrait and the video.
    """
    stores.require_one_clip(frames, face)
    place = pick_device(device)
    person = load_portrait(portrait, place)
    renderer = Renderer(person)
    motion, valid = load_motion(face, gaze, speech)
    target = to(person.neutral, torch.device("cpu"))
    asked = transferred(smoothed(motion, smoothing), neutral(take(motion, valid)), target, transfer)
    with stores.open_frames(frames) as store:
        fps = store.fps
    start = round(len(valid) * first)
    inputs = [portrait, frames, face, gaze, audio, *filter(None, [speech])]
    about = {
        "fps": fps,
        "frames": len(valid) - start,
        "sound": audio,
        "sound_start": float(start / fps),
        "quality": quality,
    }
    about |= {"comment": RENDERED, "record": record("pipeline.render", inputs, config)}
    with (
        VideoWriter(out, size=person.layout.size, **about) as video,
        progress(name=f"{out.stem}: render", unit="frames", total=len(valid) - start) as bar,
    ):
        for begin in range(start, len(valid), batch):
            rendered = renderer.pictures(to(take(asked, slice(begin, begin + batch)), place))
            video.write(rendered)
            bar.update(len(rendered))


if __name__ == "__main__":
    run(main)
