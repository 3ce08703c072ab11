from fractions import Fraction

import numpy as np
import pytest

from pipeline.clock import settle

REPETITION = 0.25


def repeated(rate: int, stated: int, seconds: int, late: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times and changes of `rate` real pictures a second in a file of `stated`, and the real picture shown in each."""
    shown = np.floor(np.arange(seconds * stated) * rate / stated + late).astype(int)
    moving = np.random.default_rng(0).uniform(5, 20, len(shown))
    changes = np.where(np.diff(shown, prepend=-1) > 0, moving, 0.5)
    return np.arange(len(shown)) / stated, changes, shown


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(24000, 1001), Fraction(17)])
@pytest.mark.parametrize("digits", [9, 3])
def test_a_regular_clip_keeps_its_exact_rate_and_every_frame(rate, digits):
    times = np.round(0.08 + np.arange(90) / float(rate), digits)  # some containers round times to milliseconds
    clock = settle(times, np.full(90, 9.0), (rate,), REPETITION)
    assert clock.fps == rate
    assert clock.picks.tolist() == list(range(90))
    assert clock.start == pytest.approx(0.08, abs=1e-3)


@pytest.mark.parametrize("rate", [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(48), Fraction(60000, 1001)])
def test_a_rate_that_was_counted_from_rounded_times_is_made_exact(rate):
    times = np.round(np.arange(900) / float(rate), 3)
    counted = Fraction(899, 1) / Fraction(round(times[-1] * 1000), 1000)
    assert counted != rate and settle(times, np.full(900, 9.0), (counted,), REPETITION).fps == rate


@pytest.mark.parametrize("late", [0.0, 0.5, 0.9])
@pytest.mark.parametrize(("rate", "stated"), [(25, 30), (24, 30), (15, 30), (30, 60), (50, 60), (24, 60)])
def test_repeated_pictures_are_dropped_and_each_real_one_is_kept_once(rate, stated, late):
    times, changes, shown = repeated(rate, stated, 8, late)
    clock = settle(times, changes, (Fraction(stated),), REPETITION)
    assert clock.fps == rate
    real = shown[clock.picks]
    assert (np.diff(real) == 1).all()
    assert real[0] - shown[0] <= 1 and shown[-1] - real[-1] <= 1  # those at the ends were shown for a part of a frame
    grid = clock.start + np.arange(len(clock.picks)) / rate
    assert np.abs(times[clock.picks] - grid).max() < 1 / rate


def test_ntsc_files_have_ntsc_film_in_them():
    times, changes, _ = repeated(24, 30, 8, 0.5)
    assert settle(times * 1.001, changes, (Fraction(30000, 1001),), REPETITION).fps == Fraction(24000, 1001)


def test_someone_who_holds_still_for_long_does_not_change_the_rate():
    changes = np.where(np.arange(500) // 100 % 2, 0.01, 10.0)
    clock = settle(np.arange(500) / 25, changes, (Fraction(25),), REPETITION)
    assert clock.fps == 25
    assert len(np.unique(clock.picks)) == 500


def test_a_single_repeated_picture_is_kept_so_that_nothing_shifts():
    changes = np.full(100, 8.0)
    changes[40] = 0
    clock = settle(np.arange(100) / 25, changes, (Fraction(25),), REPETITION)
    assert clock.picks.tolist() == list(range(100))


@pytest.mark.parametrize(("missing", "fps"), [(0.05, 30), (0.15, 30)])
def test_a_varying_rate_becomes_regular_and_each_frame_is_the_nearest_in_time(missing, fps):
    steps = np.random.default_rng(1).choice([1 / 30, 1 / 15], 300, p=[1 - missing, missing])
    times = np.cumsum(steps + np.random.default_rng(2).uniform(-0.004, 0.004, 300))
    average = Fraction(299 / (times[-1] - times[0])).limit_denominator(1001)
    clock = settle(times, np.full(300, 8.0), (average,), REPETITION)
    grid = clock.start + np.arange(len(clock.picks)) / float(clock.fps)
    assert clock.fps == fps
    assert len(clock.picks) / fps == pytest.approx(times[-1] - times[0], abs=2 / fps)
    nearest = np.abs(times[None] - grid[:, None]).min(1)
    np.testing.assert_allclose(np.abs(times[clock.picks] - grid), nearest, atol=1e-9)
    assert len(np.unique(clock.picks)) > 0.97 * 300


@pytest.mark.parametrize("missing", [[1], [5, 6], [20], [27, 29], [3, 9, 15, 21]])
def test_a_clip_that_lacks_single_frames_keeps_its_rate_and_its_length(missing):
    places = np.delete(np.arange(31), missing)
    clock = settle(places / 25, np.full(len(places), 9.0), (Fraction(25),), REPETITION)
    assert clock.fps == 25 and clock.start == 0 and len(clock.picks) == 31
    held = np.abs(places[clock.picks] - np.arange(31))
    assert held.max() <= 1 and np.flatnonzero(held).tolist() == missing


def test_one_picture_is_a_clip_of_one_frame():
    clock = settle(np.array([0.5]), np.array([0.0]), (Fraction(25),), REPETITION)
    assert (clock.fps, clock.picks.tolist(), clock.start) == (25, [0], 0.5)
