"""Turn the sound into features, one window per video frame."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from models import deepspeech
from models.log_mel import RATE, SOUND_RATE, log_mel_windows
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.manifest import find
from pipeline.media import read_sound
from pipeline.progress import progress
from pipeline.stores import Audio, open_frames, write_audio


def main(
    *,
    audio: Path,
    out: Path,
    extractor: Literal["log_mel", "deepspeech"],
    networks: Path,
    frames: Path | None = None,
    fps: str | None = None,
) -> None:
    """Encode.

    Args:
        audio: any file with sound; its beginning is the time of frame 0.
        out: audio store to write.
        extractor: "log_mel" needs no weights, and its scale is absolute: the same sound gives the same features in
            any clip. "deepspeech" is the paper's; it normalises over the whole sound, so its features depend on where
            the clip begins and ends.
        networks: folder of the networks' files, of which deepspeech needs its own.
        frames: frame store whose number and rate of frames count; sound that is missing at the end is silence for
            log_mel, and for deepspeech the last window goes on.
        fps: for speech without a clip: frames per second, as "25" or "30000/1001"; as many frames as the sound lasts.
    """
    if (frames is None) == (fps is None):
        raise InputError(f"{audio}: give either --frames, the clip's frame store, or --fps, not both")
    sound = read_sound(audio, SOUND_RATE)
    if frames is not None:
        with open_frames(frames) as store:
            rate, count, clip = store.fps, len(store), store.identity
    else:
        rate, clip = rate_of(fps), ""
        count = max(1, round(len(sound) / SOUND_RATE * rate))
    if extractor == "deepspeech":
        features = encode_deepspeech(audio, sound, rate, count, find("deepspeech", networks))
    else:
        windows = log_mel_windows(sound, np.arange(count) / float(rate))
        features = Audio(audio=windows, rate=float(RATE), extractor="log-mel 29", weights="")
    write_audio(out, replace(features, clip=clip))
    print(f"{Path(audio).name}: {len(sound) / SOUND_RATE:.2f} s of sound, {count} frames at {float(rate):.3f} frames/s")


def encode_deepspeech(audio: Path, sound: np.ndarray, rate: Fraction, count: int, graph: Path) -> Audio:
    """`count` windows at `rate` frames per second of (T,) samples in [-1, 1]; 16-bit samples are restored exactly."""
    if not len(sound):
        raise InputError(f"{audio}: its sound ends before its picture begins; give a file whose sound goes with it")
    network = deepspeech.load_deepspeech(graph)
    with progress(name=f"{audio}, there and back", unit="rows", total=0) as bar:
        network.register_forward_pre_hook(lambda whole, rows: bar.reset(2 * len(rows[0])))
        network.dense1.register_forward_hook(lambda layer, rows, found: bar.update(len(found)))
        logits = network.logits(sound, SOUND_RATE)
    windows = deepspeech.windows(logits, rate, count)
    return Audio(audio=windows, rate=float(deepspeech.RATE), extractor="DeepSpeech 0.1.0", weights=sha256(graph))


def rate_of(text: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise InputError(f"--fps {text}: not a frame rate; write it as 25 or 30000/1001")
    return rate


if __name__ == "__main__":
    run(main)
