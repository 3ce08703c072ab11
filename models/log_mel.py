"""29 log-mel bands of a sound, in windows of 16 rows around each video frame: sound features without weights."""

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

SOUND_RATE = 16000  # Hz, of the sound
RATE = 50  # rows a second
ROWS, BANDS = 16, 29  # a window: rows k-8 ... k+7 around row k = round(50 t), 320 ms as AD-NeRF's
LOWEST, HIGHEST = 60.0, 7600.0  # Hz
LENGTH, TRANSFORM = 400, 512  # samples: 25 ms, padded for the Fourier transform
FLOOR = 1e-4  # power of silence: a quiet recording's hiss must not look like speech
SILENCE = (np.log(FLOOR) - 1) / 3  # a band of a row without sound
BLOCK = 4096  # rows computed at once


def log_mel(sound: Iterable[np.ndarray]) -> tuple[np.ndarray, int]:
    """Log band power.

    Args:
        sound: (T,) samples each, in [-1, 1] at 16 kHz: block after block, of which few are held at a time.

    Returns:
        (rows, 29) float32, row r from the 25 ms around r / 50 s, to the end of the sound; and its number of samples.
        The scale is absolute, so that a clip's own loudness and length do not shift another's features: 0 is about a
        quiet voice, silence is about -3.4, full scale 3.
    """
    hop = SOUND_RATE // RATE
    window, bands = np.hanning(LENGTH).astype(np.float32), mel_bands()
    samples, rows, held = 0, [], np.zeros(LENGTH // 2, np.float32)  # silence before, so that row 0 is around time 0
    for block in gathered(chain(sound, [np.zeros(LENGTH, np.float32)]), BLOCK * hop):
        samples += len(block)
        held = np.concatenate([held, block.astype(np.float32)])
        pieces = np.lib.stride_tricks.sliding_window_view(held, LENGTH)[::hop]
        power = np.abs(np.fft.rfft(pieces * window, TRANSFORM)) ** 2 @ bands
        rows.append(((np.log(power + FLOOR) - 1) / 3).astype(np.float32))
        held = held[len(pieces) * hop :]
    return np.concatenate(rows), samples - LENGTH


def gathered(blocks: Iterable[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """The blocks in groups of at least so many samples; the last one holds what is left."""
    held, count = [], 0
    for block in blocks:
        held.append(block)
        count += len(block)
        if count >= least:
            yield np.concatenate(held)
            held, count = [], 0
    if held:
        yield np.concatenate(held)


def log_mel_windows(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Features around each video frame; beyond the ends of the sound is silence.

    Args:
        rows: (R, 29) of `log_mel`.
        times: (N,) of the frames, s, from the first sample.

    Returns:
        (N, 16, 29) float32.
    """
    centres = np.floor(np.asarray(times) * RATE + 0.5).astype(int)
    before = ROWS // 2
    after = max(0, centres.max() + ROWS - before - len(rows))
    padded = np.pad(rows, ((before, after), (0, 0)), constant_values=SILENCE)
    return np.lib.stride_tricks.sliding_window_view(padded, ROWS, axis=0).transpose(0, 2, 1)[centres]


def mel_bands() -> np.ndarray:
    """(257, 29) weights of triangular bands, equally wide in mel, over the bins of the transform."""
    lowest, highest = (2595 * np.log10(1 + hertz / 700) for hertz in (LOWEST, HIGHEST))
    edges = 700 * (10 ** (np.linspace(lowest, highest, BANDS + 2) / 2595) - 1)
    bins = np.arange(TRANSFORM // 2 + 1)[:, None] * SOUND_RATE / TRANSFORM
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
