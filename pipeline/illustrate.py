"""Show a result for the report: beside its driver, in a contact sheet, where it is worst, how it moves, how it learned.

The page holds all of it, with the figures, how it was made and the licences, in one file that needs nothing else.
"""

import json
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pipeline import metrics as figures
from pipeline import pictures, provenance, stores
from pipeline.cli import run
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.media import read_frames
from pipeline.pictures import resized
from pipeline.plots import Trace, draw_losses, draw_traces, read_log
from pipeline.progress import progress, stage_of
from pipeline.provenance import NO_CONFIG, Config
from pipeline.result_page import write_page
from pipeline.sheets import read, save, sheet, stacked

BESIDE = "Synthetic on the right: rendered by MyPortrait beside its driver or the truth"
CELL = 128  # px, of a picture on a sheet
ACROSS, BANDS = 8, 3  # of the contact sheet
WORST = 8  # frames
APART = 0.5  # s, between two of the worst frames
PLOTTED = 40.0  # s of the traces
UNSPOKEN = slice(17, 48)  # landmarks that no speech moves: brows, nose, eyes


class Pair(NamedTuple):
    """A frame of the driver, or of the truth, and the result's: (S, S, 3) uint8 each."""

    driver: np.ndarray
    result: np.ndarray


def main(
    *,
    video: Path,
    metrics: Path,
    frames: Path,
    face: Path,
    audio: Path,
    tracked: Path,
    histories: list[Path],
    previews: list[Path],
    coverage: list[Path],
    template: Path,
    captions: list[Path],
    side_by_side: Path,
    contact: Path,
    worst: Path,
    motion: Path,
    learning: Path,
    losses: Path,
    page: Path,
    beside: Literal["driver", "truth", "footage"],
    first: float,
    quality: int,
    label: str,
    components: list[str],
    config: Config = NO_CONFIG,
) -> None:
    """Illustrate.

    Args:
        video: the rendered video.
        metrics: its figures.
        frames, face, audio: stores and sound of the driver, or of the truth.
        tracked: face store of the video.
        histories: loss logs of the portrait, in the order of its training.
        previews: pictures that its training drew, likewise.
        coverage: plot of how much of the driver's motion the target has shown, if there is one.
        template: of the page.
        captions: a text on each picture, of the picture's name.
        side_by_side: video with driver or truth left, result right, both at the result's size.
        contact: frames from beginning to end.
        worst: the frames in which driver and result differ most.
        motion: traces of how driver and result move.
        learning: the previews.
        losses: the loss logs as curves.
        page: all of these in one HTML file.
        beside: what the left side of the side-by-side is.
        first: where in the store the video begins, as a part of its length.
        quality: x264's constant rate factor.
        label: written into a corner of the result; empty: nothing.
        components: what the configuration chose, for the licences.
        config: what of the configuration shaped this, beside what the video says.
    """
    report = json.loads(metrics.read_text())
    spoken = "speech" in report["measured_with"]
    with stores.open_frames(frames) as store:
        start, fps, driver_size = round(len(store) * first), store.fps, store.size
    led, own = stores.read_face(face).since(start), stores.read_face(tracked)
    if len(led.valid) != len(own.valid):
        raise InputError(f"{tracked}: {len(own.valid)} frames where the driver has {len(led.valid)}; measure it again")

    # choose the frames to show, then see all of them once
    size = len(next(read_frames(video)).image)
    apart = distances(led, own, driver_size, size, UNSPOKEN if spoken else slice(None))
    spread = np.unique(np.linspace(0, len(apart) - 1, ACROSS * BANDS).round().astype(int)).tolist()
    furthest = peaks(apart, WORST, round(APART * fps))
    made = provenance.record("pipeline.illustrate", [frames, audio], config, shown=provenance.read(video))
    about = {
        "fps": fps,
        "frames": len(apart),
        "sound": audio,
        "sound_start": start / fps,
        "quality": quality,
        "record": made,
    }
    shown: dict[int, Pair] = {}
    with (
        stores.open_frames(frames) as store,
        VideoWriter(side_by_side, size=(2 * size, size), comment=BESIDE, **about) as writer,
    ):
        watched = progress(read_frames(video), name=f"{page.parent.name}: frames", unit="frames", total=len(apart))
        for index, frame in enumerate(watched):
            pair = Pair(resized(store.frames[start + index], size), frame.image)
            if index in spread or index in furthest:
                shown[index] = Pair(*(picture.copy() for picture in pair))
            if label:
                pictures.label(pair.result, label)
            writer.write(np.concatenate(pair, 1)[None])

    # draw
    clock = float(fps)
    bands = [spread[begin : begin + ACROSS] for begin in range(0, len(spread), ACROSS)]
    save(contact, stacked([pairs_sheet(shown, band, beside, [f"{k / clock:.1f} s" for k in band]) for band in bands]))
    words = [f"{k / clock:.1f} s\n{'no face found' if np.isinf(apart[k]) else f'{apart[k]:.3f}'}" for k in furthest]
    save(worst, pairs_sheet(shown, furthest, beside, words))
    draw_traces(motion, traces(led, own, spoken), clock, beside, PLOTTED)
    save(learning, stacked([read(path) for path in previews]))
    draw_losses(losses, [(stage_of(path), read_log(path)) for path in histories])

    named = {"contact": contact, "worst": worst, "motion": motion, "learning": learning, "losses": losses}
    named |= dict(zip(["coverage"], coverage, strict=False))
    texts = {path.stem: " ".join(path.read_text().split()) for path in captions}
    write_page(page, template, side_by_side, named, texts, report, made, components)
    print(f"{page}: {len(apart)} frames; {beside} and result differ most at {apart.argmax() / clock:.1f} s")


def distances(led: stores.Face, own: stores.Face, led_size: int, own_size: int, which: slice) -> np.ndarray:
    """(N,) mean distance of the landmarks `which` between driver and result, in face sizes.

    As in the figure `landmarks`; infinite where only the driver's frame shows a face, 0 where it does not.
    """
    both = led.valid & own.valid
    found = np.where(led.valid & ~own.valid, np.inf, 0.0)
    if both.any():
        asked = figures.landmark_motion(led.landmarks, led.position, led_size, both)
        made = figures.landmark_motion(own.landmarks, own.position, own_size, both)
        found[both] = figures.landmark_distances(made[both][:, which], asked[both][:, which])
    return found


def peaks(values: np.ndarray, count: int, apart: int) -> list[int]:
    """Places of up to `count` highest values above 0, no two nearer than `apart`, in their order."""
    chosen: list[int] = []
    for place in np.argsort(-values, kind="stable"):
        if len(chosen) < count and values[place] > 0 and all(abs(place - other) >= apart for other in chosen):
            chosen.append(int(place))
    return sorted(chosen) or [0]


def pairs_sheet(shown: dict[int, Pair], places: list[int], beside: str, above: list[str]) -> np.ndarray:
    rows = [[getattr(shown[place], side) for place in places] for side in Pair._fields]
    return sheet(rows, CELL, above, [beside, "result,\nsynthetic"])


def traces(led: stores.Face, own: stores.Face, spoken: bool) -> list[Trace]:
    """How the head and the face move in driver and result, each from how it mostly is.

    A mouth that a speech moves has no driver.
    """
    curves = {
        "yaw, °": lambda face: np.degrees(face.pose[:, 1]),
        "pitch, °": lambda face: np.degrees(face.pose[:, 0]),
        "roll, °": lambda face: np.degrees(face.pose[:, 2]),
        "mouth, eye distances": lambda face: figures.mouth_opening(face.landmarks),
        "eyes, eye widths": lambda face: figures.eye_opening(face.landmarks),
    }
    both = led.valid & own.valid
    found = []
    for name, curve in curves.items():
        with np.errstate(invalid="ignore"):  # frames without a face may have landmarks of zeros
            driver, result = curve(led), curve(own)
        if spoken and name.startswith("mouth"):
            driver = np.full_like(driver, np.nan)
        r = figures.pearson(driver[both], result[both])
        name = name if r is None else f"{name}\nr = {r:.2f}"
        found.append(Trace(name, departures(driver, led), departures(result, own)))
    return found


def departures(curve: np.ndarray, face: stores.Face) -> np.ndarray:
    """(N,) from the median of the frames with a face; NaN in the others."""
    seen = np.where(face.valid, curve, np.nan)
    numbers = seen[~np.isnan(seen)]
    return seen - np.median(numbers) if len(numbers) else seen


if __name__ == "__main__":
    run(main)
