"""Nonsense speech with the mouth that speaks it: one track of phonemes makes the sound and the shapes of the lips.

A formant synthesiser: pulses of the vocal cords pass through the resonances of the vocal tract; hiss is added.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d
from scipy.signal import lfilter

RATE = 16000  # Hz
BLOCK = RATE // 200  # samples over which the resonances stand still, 5 ms
TOP_FORMANT = 3500.0  # Hz, the fourth resonance, the same for all phonemes
BANDWIDTHS = (80.0, 100.0, 140.0, 250.0)  # Hz, of the four resonances
LIP_SPREAD = 0.045  # s: how far lips run ahead of a phoneme and lag behind it


class Phoneme(NamedTuple):
    f1: float  # Hz, resonances of the vocal tract
    f2: float
    f3: float
    open: float  # the mouth, 0 shut to 1
    pucker: float  # -1 spread to 1 rounded
    voice: float  # loudness of voice and of hiss, 0 to 1
    hiss: float


VOWELS = {
    "a": Phoneme(800, 1250, 2500, 1.0, 0.0, 1, 0),
    "e": Phoneme(530, 1850, 2500, 0.55, -0.2, 1, 0),
    "i": Phoneme(300, 2300, 3000, 0.28, -0.35, 1, 0),
    "o": Phoneme(500, 900, 2400, 0.62, 0.75, 1, 0),
    "u": Phoneme(330, 750, 2250, 0.25, 1.0, 1, 0),
}
CONSONANTS = {
    "m": Phoneme(250, 1100, 2200, 0.0, 0.1, 0.35, 0),
    "b": Phoneme(250, 900, 2200, 0.0, 0.1, 0.08, 0.02),
    "l": Phoneme(380, 1100, 2600, 0.38, 0.0, 0.7, 0),
    "s": Phoneme(300, 1700, 2600, 0.14, -0.2, 0, 0.5),
    "f": Phoneme(300, 1300, 2400, 0.07, 0.0, 0, 0.2),
    "r": Phoneme(420, 1250, 1650, 0.3, 0.4, 0.7, 0),
}
PAUSE = Phoneme(500, 1500, 2500, 0.02, 0.0, 0, 0)


class Babble(NamedTuple):
    sound: np.ndarray  # (seconds * RATE,) float32 in [-1, 1]
    open: np.ndarray  # (frames,) in [0, 1], at the middle of each frame
    pucker: np.ndarray  # (frames,) in [-1, 1]


def babble(seconds: float, fps: float, voice: float, seed: int) -> Babble:
    """Speak nonsense.

    Args:
        voice: mean pitch, Hz.
        seed: same seed, same speech.
    """
    random = np.random.default_rng(seed)
    track = Phoneme(*_utter(random, round(seconds * RATE)).T)
    sound = _resonate(_excite(random, track, voice), track) + _hiss(random, track)
    middles = ((np.arange(round(seconds * fps)) + 0.5) * RATE / fps).astype(int).clip(max=len(sound) - 1)
    lips = [_smooth(shape, LIP_SPREAD)[middles] for shape in (track.open, track.pucker)]
    return Babble((0.8 * sound / np.abs(sound).max()).astype(np.float32), *lips)


def _utter(random: np.random.Generator, length: int) -> np.ndarray:
    """Phrases of 3 to 8 syllables, pauses between them, as (length, 7): the phoneme of every sample."""
    spoken = [(PAUSE, 0.3)]
    while sum(seconds for _, seconds in spoken) * RATE < length + RATE:
        for _ in range(random.integers(3, 9)):
            spoken.append((CONSONANTS[random.choice(list(CONSONANTS))], random.uniform(0.06, 0.11)))
            spoken.append((VOWELS[random.choice(list(VOWELS))], random.uniform(0.11, 0.24)))
        spoken.append((PAUSE, random.uniform(0.2, 0.7)))
    return np.concatenate([np.tile(phoneme, (int(seconds * RATE), 1)) for phoneme, seconds in spoken])[:length]


def _excite(random: np.random.Generator, track: Phoneme, voice: float) -> np.ndarray:
    """Pulses of the vocal cords with a little breath, (T,); the pitch swings slowly and wavers."""
    time = np.arange(len(track.voice)) / RATE
    waver = _smooth(random.standard_normal(len(time)), 0.15)
    pitch = voice * (1 + 0.12 * np.sin(2 * np.pi * time / 1.7) + 0.05 * waver / waver.std())
    pulses = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0)
    breath = 0.02 * random.standard_normal(len(time))
    return (lfilter([1], [1, -0.95], pulses) + breath) * _smooth(track.voice, 0.012)


def _resonate(source: np.ndarray, track: Phoneme) -> np.ndarray:
    """The source through four resonators in a row, block by block, scaled to a peak of 1."""
    tops = np.full(len(source), TOP_FORMANT)
    formants = np.stack([*(_smooth(f, 0.018) for f in (track.f1, track.f2, track.f3)), tops], 1)  # (T, 4) Hz
    width = np.array(BANDWIDTHS)
    radius = np.exp(-np.pi * width / RATE)
    swing = 2 * radius * np.cos(2 * np.pi * formants / RATE)  # (T, 4)
    states = np.zeros((4, 2))
    sound = source.copy()
    for start, end in pairwise([*range(0, len(source), BLOCK), len(source)]):
        for k, (r, c) in enumerate(zip(radius, swing[(start + end) // 2], strict=True)):
            taps = [1 - c + r * r], [1, -c, r * r]
            sound[start:end], states[k] = lfilter(*taps, sound[start:end], zi=states[k])
    return sound / np.abs(sound).max()


def _hiss(random: np.random.Generator, track: Phoneme) -> np.ndarray:
    """Noise of s, f and b, (T,)."""
    return lfilter([1, -0.95], [1], random.standard_normal(len(track.hiss))) * 0.25 * _smooth(track.hiss, 0.01)


def _smooth(values: np.ndarray, seconds: float) -> np.ndarray:
    """Blur along time; `seconds` is the standard deviation. Three running means are close to a Gaussian, and quick."""
    for _ in range(3):
        values = uniform_filter1d(values, round(2 * seconds * RATE), mode="nearest")
    return values
