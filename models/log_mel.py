"""29 log-mel bands of a sound, in windows of 16 rows around each video frame: sound features without weights."""

import numpy as np

SOUND_RATE = 16000  # Hz, of the sound
RATE = 50  # rows a second
ROWS, BANDS = 16, 29  # a window: rows k-8 ... k+7 around row k = round(50 t), 320 ms as AD-NeRF's
LOWEST, HIGHEST = 60.0, 7600.0  # Hz
LENGTH, TRANSFORM = 400, 512  # samples: 25 ms, padded for the Fourier transform
FLOOR = 1e-4  # power of silence: a quiet recording's hiss must not look like speech
BLOCK = 4096  # rows computed at once


def log_mel_windows(sound: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Features around each video frame; beyond the ends of the sound is silence.

    The scale is absolute, so that a clip's own loudness and length do not shift another's features: 0 is about a
    quiet voice, silence is about -3.4, full scale 3.

    Args:
        sound: (T,) samples in [-1, 1] at 16 kHz.
        times: (N,) of the frames, s, from the first sample.

    Returns:
        (N, 16, 29) float32.
    """
    centres = np.floor(np.asarray(times) * RATE + 0.5).astype(int)
    before = ROWS // 2
    rows = log_mel(sound, first=-before, count=centres.max() + ROWS)
    return np.lib.stride_tricks.sliding_window_view(rows, ROWS, axis=0).transpose(0, 2, 1)[centres]


def log_mel(sound: np.ndarray, *, first: int, count: int) -> np.ndarray:
    """(count, 29) float32: rows `first` ... of log band power, row r from the 25 ms around r / 50 s."""
    hop = SOUND_RATE // RATE
    window, bands = np.hanning(LENGTH).astype(np.float32), mel_bands()
    blocks = []
    for row in range(first, first + count, BLOCK):
        begin = row * hop - LENGTH // 2  # of the block, in samples
        piece = stretch(sound, begin, begin + (min(BLOCK, first + count - row) - 1) * hop + LENGTH)
        pieces = np.lib.stride_tricks.sliding_window_view(piece, LENGTH)[::hop]
        power = np.abs(np.fft.rfft(pieces * window, TRANSFORM)) ** 2 @ bands
        blocks.append(((np.log(power + FLOOR) - 1) / 3).astype(np.float32))
    return np.concatenate(blocks)


def stretch(sound: np.ndarray, begin: int, end: int) -> np.ndarray:
    """(end - begin,) float32: the samples from `begin` to `end`, silence beyond the sound."""
    inside = sound[max(0, begin) : max(0, end)].astype(np.float32)
    left = min(max(0, -begin), end - begin)
    return np.pad(inside, (left, end - begin - left - len(inside)))


def mel_bands() -> np.ndarray:
    """(257, 29) weights of triangular bands, equally wide in mel, over the bins of the transform."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.arange(TRANSFORM // 2 + 1)[:, None] * SOUND_RATE / TRANSFORM
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
