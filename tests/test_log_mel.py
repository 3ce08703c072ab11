import numpy as np
import pytest

from models.log_mel import BANDS, ROWS, SOUND_RATE, log_mel, log_mel_windows, mel_bands

SILENCE = (np.log(1e-4) - 1) / 3


def tone(hertz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)


def windows_of(sound: np.ndarray, times: np.ndarray) -> np.ndarray:
    return log_mel_windows(log_mel([sound])[0], times)


def test_there_is_one_window_per_frame():
    windows = windows_of(tone(400, 1), np.arange(25) / 25)
    assert windows.shape == (25, ROWS, BANDS)
    assert windows.dtype == np.float32


@pytest.mark.parametrize("fps", [25, 30, 24000 / 1001, 50, 60])
def test_windows_are_centred_on_their_frames(fps):
    """A click at a frame's time is loudest in row 8 of that frame's window, whatever the frame rate."""
    frame = 20
    sound = np.zeros(2 * SOUND_RATE)
    sound[round(frame / fps * SOUND_RATE)] = 1
    windows = windows_of(sound, np.arange(40) / fps)
    loudness = windows.mean(2)
    assert loudness[frame].argmax() == 8
    assert loudness[:, 8].argmax() == pytest.approx(frame, abs=1)


def test_windows_move_two_rows_a_frame_at_25_fps():
    windows = windows_of(np.random.default_rng(0).normal(0, 0.1, SOUND_RATE), np.arange(25) / 25)
    np.testing.assert_array_equal(windows[1:, :-2], windows[:-1, 2:])


def test_a_tone_is_loudest_in_its_own_band():
    for band in (3, 12, 25):
        hertz = mel_bands()[:, band].argmax() * SOUND_RATE / 512
        assert windows_of(tone(hertz, 1), np.array([0.5]))[0].mean(0).argmax() == band


def test_the_scale_is_absolute():
    """Ten times the amplitude adds the same everywhere, however loud the rest of the clip is."""
    soft, loud = (windows_of(tone(500, 1, level), np.array([0.5]))[0, 8] for level in (0.05, 0.5))
    band = loud.argmax()
    assert loud[band] - soft[band] == pytest.approx(np.log(100) / 3, abs=0.01)
    quiet_then_loud = np.concatenate([tone(500, 1, 0.05), tone(500, 1, 0.5)])
    np.testing.assert_allclose(windows_of(quiet_then_loud, np.array([0.5]))[0, 8], soft, atol=1e-5)


def test_silence_and_what_lies_beyond_the_ends_are_the_same_finite_floor():
    np.testing.assert_allclose(windows_of(np.zeros(1000), np.arange(5) / 25), SILENCE, rtol=1e-6)
    windows = windows_of(tone(500, 0.5), np.array([0.0, 0.4, 3.0]))
    np.testing.assert_allclose(windows[0, :7], SILENCE, rtol=1e-6)
    np.testing.assert_allclose(windows[2], SILENCE, rtol=1e-6)


@pytest.mark.parametrize("size", [341, 5000, 2**20])
def test_a_sound_is_the_same_in_whatever_pieces_it_comes(size):
    """Rows are computed in blocks of 82 s; 100 s are more than one."""
    sound = np.random.default_rng(0).normal(0, 0.1, 100 * SOUND_RATE + 7)
    rows, samples = log_mel(np.split(sound, range(size, len(sound), size)))
    assert samples == len(sound)
    for second in (0, 50, 81, 99):  # as the transform of a second cut out of it
        part = log_mel([sound[second * SOUND_RATE : (second + 1) * SOUND_RATE]])[0]
        np.testing.assert_allclose(rows[50 * second + 1 : 50 * second + 50], part[1:50], atol=1e-5)


def test_no_sound_is_silence():
    rows, samples = log_mel([])
    assert samples == 0
    np.testing.assert_allclose(log_mel_windows(rows, np.arange(3) / 25), SILENCE, rtol=1e-6)
