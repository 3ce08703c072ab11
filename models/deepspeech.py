"""DeepSpeech 0.1.0's acoustic network as AD-NeRF uses it: 29 character scores at 50 Hz, cut into windows per frame.

The network is mozilla/DeepSpeech v0.1.0 (Hannun et al. 2014), read from its frozen graph; the front end and the windows
are those of AD-NeRF (YudongGuo/AD-NeRF, data_util/deepspeech_features), the cepstra those of python_speech_features.
"""

from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from scipy.fft import dct
from torch import Tensor, nn

from models.checkpoint import load_strictly, named
from models.errors import WeightsError
from models.frozen_graph import read_constants

SOUND_RATE = 16000  # Hz, of the sound the network knows
RATE = 50  # rows of logits a second
CHARACTERS = 29  # space, a to z, apostrophe, and last the blank of CTC
ROWS = 16  # of a window: 320 ms
CEPSTRA, BANDS, LIFTER = 26, 26, 22
CONTEXT = 9  # rows before and after that the network sees with each row
INPUT = (2 * CONTEXT + 1) * CEPSTRA  # 494
LENGTH, STEP, TRANSFORM = 400, 160, 512  # samples: 25 ms every 10 ms, padded for the Fourier transform
PREEMPHASIS = 0.97
CLIP = 20  # upper end of the rectified layers
BLOCK = 4096  # rows computed at once, so that half an hour fits into memory
GATES = (0, 2, 1, 3)  # TensorFlow's i, j, f, o in torch's order i, f, j, o


class DeepSpeech(nn.Module):
    """Three dense layers, a bidirectional LSTM, two dense layers.

    Args:
        hidden: width of the layers and of an LSTM cell; 2048 in the published network (122.7M parameters).
    """

    def __init__(self, *, hidden: int):
        super().__init__()
        self.dense1 = nn.Linear(INPUT, hidden)
        self.dense2 = nn.Linear(hidden, hidden)
        self.dense3 = nn.Linear(hidden, 2 * hidden)
        # One network a direction: each carries its state from block to block.
        self.ahead = nn.LSTM(2 * hidden, hidden)
        self.back = nn.LSTM(2 * hidden, hidden)
        self.dense5 = nn.Linear(2 * hidden, hidden)
        self.dense6 = nn.Linear(hidden, CHARACTERS)

    def forward(self, rows: Tensor) -> Tensor:
        """(T, 494) rows of `network_input` -> (T, 29) logits."""
        ahead = self._recur(self.ahead, rows)
        back = self._recur(self.back, rows.flip(0)).flip(0)
        blocks = zip(ahead.split(BLOCK), back.split(BLOCK), strict=True)
        return torch.cat([self.dense6(_rectify(self.dense5(torch.cat(both, 1)))) for both in blocks])

    def _recur(self, lstm: nn.LSTM, rows: Tensor) -> Tensor:
        """(T, 494) in the direction of reading -> (T, hidden)."""
        state, outputs = None, []
        for block in rows.split(BLOCK):
            for dense in (self.dense1, self.dense2, self.dense3):
                block = _rectify(dense(block))
            output, state = lstm(block, state)
            outputs.append(output)
        return torch.cat(outputs)

    @torch.no_grad()
    def logits(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Scores of the characters before the softmax.

        The input is normalised over the whole sound, so every row depends on how much sound there is around it:
        encode a clip in one piece, and expect other values from a part of it.

        Args:
            samples: (T,) or (T, channels) as a wav file holds them, the first channel counts; integers of any width,
                or floats, of which [-1, 1] is the int16 range (x 32768) and the rest is clipped.
            sample_rate: Hz; other rates than 16000 are resampled.

        Returns:
            (rows, 29) float32 at 50 Hz, row r from the 25 ms that begin at r / 50 s.

        Raises:
            ValueError: there is no sample, or one is not a finite number.
        """
        rows = network_input(int16_samples(samples, sample_rate))
        return self(torch.from_numpy(rows).to(self.dense1.weight)).cpu().numpy()


def load_deepspeech(path: Path) -> DeepSpeech:
    """The network of a frozen graph, in eval mode, as wide as the graph's.

    Raises:
        WeightsError: the file is damaged, no frozen graph, or the graph of another network.
    """
    constants = read_constants(path)
    missing = [name for name in _shapes(0) if name not in constants]
    if missing:
        raise WeightsError(f"{path}: lacks {named(missing)}; not the graph of DeepSpeech 0.1.0, later ones do not fit")
    hidden = max(1, constants["b1"].size)
    for name, shape in _shapes(hidden).items():
        if constants[name].shape != shape:
            raise WeightsError(f"{path}: {name} is {constants[name].shape}, expected {shape}; another network's graph")
    state = {}
    for layer in "12356":  # rows of a TensorFlow matrix are inputs, of torch's outputs
        state[f"dense{layer}.weight"] = torch.tensor(constants[f"h{layer}"].T)
        state[f"dense{layer}.bias"] = torch.tensor(constants[f"b{layer}"])
    for name, direction in (("ahead", "fw"), ("back", "bw")):
        cell = _lstm_state(*(constants[f"{_cell(direction)}/{part}"] for part in ("kernel", "bias")))
        state |= {f"{name}.{key}": value for key, value in cell.items()}
    return load_strictly(DeepSpeech(hidden=hidden), state, path)


def windows(logits: np.ndarray, fps: int | float | Fraction, frames: int) -> np.ndarray:
    """The rows around each video frame, as AD-NeRF cuts them at 25 frames/s.

    Frame k at t = k / fps gets rows c-8 ... c+7 around row c = round(50 t), halves up, with zeros beyond the ends. At
    25 frames/s c = 2k, which are AD-NeRF's windows with stride 2; at any other rate a frame at the same time gets the
    same window. What AD-NeRF does at the end is kept at every rate: the last row is dropped, so it counts as zeros, and
    from the first frame whose c is not among the remaining rows on, the window before repeats, its min(frame, N - 1).

    AD-NeRF first interpolates linearly to round(50 x duration) rows at 50 Hz. The duration known here is that of the
    logits, rows / 50 s, to which this changes nothing. (A sound that ends 5 to 10 ms before a multiple of 20 ms has
    one row fewer than that; AD-NeRF then repeats the last row before it drops it, and this drops a true one.)

    Args:
        logits: (T, 29) at 50 Hz; the first row is at the time of frame 0.
        fps: frames per second.
        frames: how many windows.

    Returns:
        (frames, 16, 29) float32.

    Raises:
        ValueError: the rate is not positive, or the logits have another shape or no row.
    """
    rate = Fraction(fps)
    if rate <= 0:
        raise ValueError(f"fps {fps}: expected a positive rate")
    if logits.ndim != 2 or logits.shape[1] != CHARACTERS or not len(logits):
        raise ValueError(f"logits {logits.shape}: expected (rows, {CHARACTERS}), rows > 0")
    rows = logits[:-1].astype(np.float32)
    num, den = rate.as_integer_ratio()
    centres = np.array([(2 * RATE * k * den + num) // (2 * num) for k in range(frames)], int)  # exact: no float halves
    last = max(0, np.searchsorted(centres, len(rows)) - 1)
    centres = centres[np.minimum(np.arange(frames), last)]
    padded = np.pad(rows, ((ROWS // 2, ROWS // 2), (0, 0)))
    return np.lib.stride_tricks.sliding_window_view(padded, ROWS, axis=0)[centres].transpose(0, 2, 1).copy()


def int16_samples(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """(T,) or (T, channels) of any kind and rate -> (T',) int16 at 16 kHz, cut towards zero, as the network was fed."""
    sound = np.asarray(samples)
    sound = sound[:, 0] if sound.ndim == 2 else sound
    if sound.ndim != 1 or not len(sound):
        raise ValueError(f"samples {np.shape(samples)}: expected (T,) or (T, channels), T > 0")
    sound = _int16_range(sound)
    if not np.isfinite(sound).all():
        raise ValueError("samples: not every one is a finite number")
    if sample_rate != SOUND_RATE:
        import resampy  # takes a second; most sounds come at 16 kHz

        sound = resampy.resample(sound, sample_rate, SOUND_RATE)
    return np.clip(sound, -32768, 32767).astype(np.int16)


def _int16_range(sound: np.ndarray) -> np.ndarray:
    """(T,) float64."""
    if sound.dtype.kind == "f":
        return sound.astype(np.float64) * 32768
    if sound.dtype.kind not in "iu":
        raise ValueError(f"samples of {sound.dtype}: expected integers or floats")
    bits = 8 * sound.dtype.itemsize
    middle = 2 ** (bits - 1) if sound.dtype.kind == "u" else 0  # 8-bit wav files are unsigned
    return (sound.astype(np.float64) - middle) * 2.0 ** (16 - bits)


def network_input(sound: np.ndarray) -> np.ndarray:
    """(T,) int16 at 16 kHz -> (rows, 494) float32 at 50 Hz, of mean 0 and deviation 1 over everything.

    Row r holds the cepstra of rows r-9 ... r+9, zeros beyond the ends.
    """
    padded = np.pad(mfcc(sound), ((CONTEXT, CONTEXT), (0, 0)))
    rows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1, axis=0).transpose(0, 2, 1)
    mean, deviation = rows.mean(), rows.std()
    return ((rows - mean) / deviation).astype(np.float32).reshape(len(rows), INPUT)


def mfcc(sound: np.ndarray) -> np.ndarray:
    """Mel-frequency cepstra of every second frame of 25 ms every 10 ms, as python_speech_features computes them.

    Args:
        sound: (T,) int16 at 16 kHz.

    Returns:
        (rows, 26) float64 at 50 Hz: log energy, then coefficients 1 to 25.
    """
    frames = 1 + max(0, -(-(len(sound) - LENGTH) // STEP))  # the last one reaches beyond the end, into zeros
    sound = sound.astype(np.float64)
    sound = np.append(sound[0], sound[1:] - PREEMPHASIS * sound[:-1])
    padded = np.pad(sound, (0, (frames - 1) * STEP + LENGTH - len(sound)))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, LENGTH)[:: 2 * STEP]
    bands = _mel_bands()
    order = np.arange(CEPSTRA)
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * order / LIFTER)
    blocks = []
    for start in range(0, len(pieces), BLOCK):
        power = np.abs(np.fft.rfft(pieces[start : start + BLOCK], TRANSFORM)) ** 2 / TRANSFORM
        cepstra = dct(_log(power @ bands), type=2, norm="ortho")[:, :CEPSTRA] * lifter
        cepstra[:, 0] = _log(power.sum(1))
        blocks.append(cepstra)
    return np.concatenate(blocks)


def _mel_bands() -> np.ndarray:
    """(257, 26) weights of triangular bands from 0 to 8000 Hz; their corners are rounded down to whole bins."""
    highest = 2595 * np.log10(1 + SOUND_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    corners = np.floor((TRANSFORM + 1) * hertz / SOUND_RATE)
    low, peak, high = corners[:-2], corners[1:-1], corners[2:]
    bins = np.arange(TRANSFORM // 2 + 1)[:, None]
    return np.maximum(0, np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)))


def _log(power: np.ndarray) -> np.ndarray:
    """Natural logarithm; silence counts as the smallest step of a float64 from 1."""
    return np.log(np.where(power == 0, np.finfo(np.float64).eps, power))


def _rectify(values: Tensor) -> Tensor:
    return values.clamp(0, CLIP)


def _shapes(n: int) -> dict[str, tuple[int, ...]]:
    """The constants of the graph of a network n wide."""
    shapes = {"h1": (INPUT, n), "h2": (n, n), "h3": (n, 2 * n), "h5": (2 * n, n), "h6": (n, CHARACTERS)}
    shapes |= {name.replace("h", "b"): (shape[1],) for name, shape in shapes.items()}
    for direction in ("fw", "bw"):
        shapes |= {f"{_cell(direction)}/kernel": (3 * n, 4 * n), f"{_cell(direction)}/bias": (4 * n,)}
    return shapes


def _cell(direction: str) -> str:
    return f"bidirectional_rnn/{direction}/basic_lstm_cell"


def _lstm_state(kernel: np.ndarray, bias: np.ndarray) -> dict[str, Tensor]:
    """A BasicLSTMCell's kernel (2n + n, 4n) and bias (4n,) as the state of a torch LSTM."""
    n = len(bias) // 4
    gates = kernel.reshape(3 * n, 4, n)[:, GATES].reshape(3 * n, 4 * n).T
    bias = bias.reshape(4, n)[GATES, :] + np.array([0, 1, 0, 0], np.float32)[:, None]  # the cell adds 1 to forget
    return {
        "weight_ih_l0": torch.tensor(gates[:, : 2 * n]),
        "weight_hh_l0": torch.tensor(gates[:, 2 * n :]),
        "bias_ih_l0": torch.tensor(bias.reshape(-1)),
        "bias_hh_l0": torch.zeros(4 * n),
    }
