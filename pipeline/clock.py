"""Settle a clip's time once: its true frame rate, and which of its pictures is shown at k / rate.

Recorders and converters repeat pictures (25 real ones a second in a file that says 30) or let the rate vary. A repeated
picture stands out because it hardly changes while the pictures before and after it do; a person who holds still does so
for longer. All times are seconds, all rates frames per second.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

NTSC = Fraction(1000, 1001)
RATES = [*map(Fraction, (10, 12, 15, 24, 25, 30, 48, 50, 60)), *(rate * NTSC for rate in (24, 30, 60))]
NEAR = 0.03  # a measured rate this close to a standard one is that one
ROUNDED = 1e-4  # a stated rate this close to a standard one is that one, counted from rounded times
FEWER = 0.9  # a measured rate below this part of the stated one says that pictures are repeated...
STEADY = 0.8  # ...where this part of the seconds agree; people holding still do not make such a pattern. A regular clip
# may lack single pictures where it was cut or sent: this part of its frames follow one another
REACH = 2  # frames on either side that a repeated picture is compared with: up to two repetitions in a row are seen
PHASES = 64  # places tried for the regular grid within one frame


@dataclass(frozen=True)
class Clock:
    fps: Fraction
    start: float  # time of frame 0 on the file's own clock
    picks: np.ndarray  # (M,) number of the picture that is shown at start + k / fps, never falling
    repeated: int  # pictures left out because they repeat the one before


def settle(times: np.ndarray, changes: np.ndarray, stated: tuple[Fraction, ...], repetition: float) -> Clock:
    """Find the clock of a clip.

    Args:
        times: (N,) presentation times.
        changes: (N,) how much each picture differs from the one before, any unit.
        stated: rates that the file states, the likeliest first.
        repetition: a picture that changes less than this part of its neighbours repeats the one before.
    """
    exact = [rate for rate in RATES if any(abs(rate / other - 1) < ROUNDED for other in stated)]
    regular = next((rate for rate in [*exact, *stated] if _keeps_to(times, rate)), None)
    copies = repetitions(changes, repetition)
    measured, agreeing = _pictures_per_second(times[~copies])
    if regular and (measured >= FEWER * regular or agreeing < STEADY or not _standard(measured, stated)):
        fps, copies = regular, np.zeros_like(copies)
    else:
        usual = 1 / np.median(np.diff(times[~copies])) if len(times) > 1 else 0.0  # where single pictures are missing
        fps = _standard(measured, stated) or _standard(usual, stated) or _average(times)
    return Clock(fps, *_grid(times, np.flatnonzero(~copies), float(fps)), int(copies.sum()))


def repetitions(changes: np.ndarray, repetition: float) -> np.ndarray:
    """(N,) bool: pictures that change less than the part `repetition` of those both before and after them."""
    padded = np.pad(changes.astype(float), REACH, constant_values=np.inf)  # at the ends one side has to do
    beside = np.lib.stride_tricks.sliding_window_view(padded, REACH).max(1)
    before, after = beside[: len(changes)], beside[REACH + 1 :]
    copies = changes < repetition * np.minimum(before, after)
    copies[0] = False
    return copies


def _keeps_to(times: np.ndarray, rate: Fraction) -> bool:
    """Whether no time is further than a third of a frame from a place of its own, and few places are left out."""
    frames = (times - times[0]) * float(rate)
    places = np.round(frames)
    steps = np.diff(places)
    near = np.abs(frames - places).max() < 1 / 3
    return bool(near and (steps > 0).all() and (steps == 1).sum() >= STEADY * len(steps))


def _pictures_per_second(times: np.ndarray) -> tuple[float, float]:
    """The median over the clip's seconds, and the part of the seconds within one picture of it."""
    if len(times) < 2:
        return 0.0, 0.0
    duration = (times[-1] - times[0]) * len(times) / (len(times) - 1)
    seconds = max(1, int(duration))
    counts, edges = np.histogram(times, seconds, (times[0] - 1e-6, times[0] + duration - 1e-6))
    rates = counts / (edges[1] - edges[0])
    return float(np.median(rates)), float(np.mean(np.abs(rates - np.median(rates)) <= 1))


def _standard(measured: float, stated: tuple[Fraction, ...]) -> Fraction | None:
    """The standard rate near `measured`; counting cannot tell 24 from 23.976, so the file's own kind decides."""
    ntsc = bool(stated) and stated[0].denominator % 1001 == 0
    near = [rate for rate in RATES if abs(rate / measured - 1) < NEAR] if measured else []
    return min(near, key=lambda rate: ((rate.denominator == 1001) != ntsc, abs(rate - measured)), default=None)


def _average(times: np.ndarray) -> Fraction:
    if len(times) < 2:
        return Fraction(25)  # a single picture has no rate
    return Fraction((len(times) - 1) / (times[-1] - times[0])).limit_denominator(1001)


def _grid(times: np.ndarray, kept: np.ndarray, fps: float) -> tuple[float, np.ndarray]:
    """The grid of 1 / fps that shows most of the kept pictures, then the one nearest to their times."""
    end = times[-1] + (np.median(np.diff(times)) if len(times) > 1 else 1 / fps)
    best = None
    for shift in np.arange(PHASES) / PHASES - 0.5:
        start = times[0] + shift / fps
        grid = start + np.arange(max(1, round((end - start) * fps))) / fps
        picks = kept[_nearest(times[kept], grid)]
        score = (len(np.unique(picks)), -np.abs(times[picks] - grid).mean())
        if best is None or score > best[0]:
            best = score, start, picks
    return best[1], best[2]


def _nearest(times: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """(M,) index of the time nearest to each place of the grid, the earlier of two equally near."""
    after = np.searchsorted(times, grid).clip(1, len(times) - 1) if len(times) > 1 else np.zeros(len(grid), int)
    before = np.maximum(after - 1, 0)
    return np.where(grid - times[before] <= times[after] - grid, before, after)
