import numpy as np
import pytest

from models.log_mel import BANDS, ROWS, SOUND_RATE, log_mel_windows, mel_bands

SILENCE = (np.log(1e-4) - 1) / 3


def tone(hertz: float, seconds: float, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)


def test_there_is_one_window_per_frame():
    windows = log_mel_windows(tone(400, 1), np.arange(25) / 25)
    assert windows.shape == (25, ROWS, BANDS)
    assert windows.dtype == np.float32


@pytest.mark.parametrize("fps", [25, 30, 24000 / 1001, 50, 60])
def test_windows_are_centred_on_their_frames(fps):
    """A click at a frame's time is loudest in row 8 of that frame's window, whatever the frame rate."""
    frame = 20
    sound = np.zeros(2 * SOUND_RATE)
    sound[round(frame / fps * SOUND_RATE)] = 1
    windows = log_mel_windows(sound, np.arange(40) / fps)
    loudness = windows.mean(2)
    assert loudness[frame].argmax() == 8
    assert loudness[:, 8].argmax() == pytest.approx(frame, abs=1)


def test_windows_move_two_rows_a_frame_at_25_fps():
    windows = log_mel_windows(np.random.default_rng(0).normal(0, 0.1, SOUND_RATE), np.arange(25) / 25)
    np.testing.assert_array_equal(windows[1:, :-2], windows[:-1, 2:])


def test_a_tone_is_loudest_in_its_own_band():
    for band in (3, 12, 25):
        hertz = mel_bands()[:, band].argmax() * SOUND_RATE / 512
        assert log_mel_windows(tone(hertz, 1), np.array([0.5]))[0].mean(0).argmax() == band


def test_the_scale_is_absolute():
    """Ten times the amplitude adds the same everywhere, however loud the rest of the clip is."""
    soft, loud = (log_mel_windows(tone(500, 1, level), np.array([0.5]))[0, 8] for level in (0.05, 0.5))
    band = loud.argmax()
    assert loud[band] - soft[band] == pytest.approx(np.log(100) / 3, abs=0.01)
    quiet_then_loud = np.concatenate([tone(500, 1, 0.05), tone(500, 1, 0.5)])
    np.testing.assert_allclose(log_mel_windows(quiet_then_loud, np.array([0.5]))[0, 8], soft, atol=1e-5)


def test_silence_and_what_lies_beyond_the_ends_are_the_same_finite_floor():
    np.testing.assert_allclose(log_mel_windows(np.zeros(1000), np.arange(5) / 25), SILENCE, rtol=1e-6)
    windows = log_mel_windows(tone(500, 0.5), np.array([0.0, 0.4, 3.0]))
    np.testing.assert_allclose(windows[0, :7], SILENCE, rtol=1e-6)
    np.testing.assert_allclose(windows[2], SILENCE, rtol=1e-6)


def test_long_sounds_are_the_same_as_their_parts():
    """Rows are computed in blocks; 100 s are more than one."""
    sound = np.random.default_rng(0).normal(0, 0.1, 100 * SOUND_RATE)
    whole = log_mel_windows(sound, np.array([81.92, 95.0]))
    part = log_mel_windows(sound[80 * SOUND_RATE :], np.array([1.92, 15.0]))
    np.testing.assert_allclose(whole, part, atol=1e-5)
