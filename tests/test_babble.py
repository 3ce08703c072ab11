import numpy as np

from pipeline.babble import RATE, babble


def loudness(sound: np.ndarray, frames: int) -> np.ndarray:
    return np.sqrt(np.square(sound.reshape(frames, -1)).mean(1))


def test_the_same_seed_says_the_same():
    one, two, other = babble(2, 25, 180, 3), babble(2, 25, 180, 3), babble(2, 25, 180, 4)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert np.corrcoef(one.open, other.open)[0, 1] < 0.9


def test_sound_and_mouth_have_the_same_length_and_stay_in_range():
    speech = babble(3, 25, 180, 0)
    assert len(speech.sound) == 3 * RATE and len(speech.open) == len(speech.pucker) == 75
    assert 0.5 < np.abs(speech.sound).max() <= 1
    assert speech.open.min() >= 0 and speech.open.max() <= 1 and np.abs(speech.pucker).max() <= 1


def test_open_mouths_are_loud():
    speech = babble(12, 25, 180, 1)
    assert np.corrcoef(loudness(speech.sound, 300), speech.open)[0, 1] > 0.6


def test_the_voice_has_its_pitch():
    """The strongest period of the sound, over many syllables, is the voice's."""
    for voice in (120, 220):
        sound = babble(10, 25, voice, 2).sound
        power = np.fft.irfft(np.abs(np.fft.rfft(sound, 2 * len(sound))) ** 2)
        lags = np.arange(RATE // 400, RATE // 80)
        assert abs(RATE / lags[power[lags].argmax()] / voice - 1) < 0.2
