"""Turn the sound into features, one window per video frame."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from models import deepspeech
from models.log_mel import RATE, SOUND_RATE, log_mel, log_mel_windows
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.manifest import find
from pipeline.progress import progress
from pipeline.sound import read_sound, sound_blocks
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
    if frames is not None:
        with open_frames(frames) as store:
            rate, count, clip = store.fps, len(store), store.identity
    else:
        rate, count, clip = rate_of(fps), None, ""
    if extractor == "deepspeech":
        features, seconds = encode_deepspeech(audio, rate, count, find("deepspeech", networks))
    else:
        features, seconds = encode_log_mel(audio, rate, count)
    write_audio(out, replace(features, clip=clip))
    shown = f"{len(features.audio)} frames at {float(rate):.3f} frames/s"
    print(f"{Path(audio).name}: {seconds:.2f} s of sound, {shown}")


def encode_log_mel(audio: Path, rate: Fraction, count: int | None) -> tuple[Audio, float]:
    """`count` windows at `rate` frames per second, or as many as the sound lasts; and how long it is, s."""
    rows, samples = log_mel(sound_blocks(audio, SOUND_RATE))
    seconds = samples / SOUND_RATE
    windows = log_mel_windows(rows, np.arange(count or frames_in(seconds, rate)) / float(rate))
    return Audio(audio=windows, rate=float(RATE), extractor="log-mel 29", weights=""), seconds


def encode_deepspeech(audio: Path, rate: Fraction, count: int | None, graph: Path) -> tuple[Audio, float]:
    """The same of DeepSpeech, which needs the whole sound at once; 16-bit samples are restored exactly."""
    sound = read_sound(audio, SOUND_RATE)
    if not len(sound):
        raise InputError(f"{audio}: its sound ends before its picture begins; give a file whose sound goes with it")
    network = deepspeech.load_deepspeech(graph)
    with progress(name=f"{audio}, there and back", unit="rows", total=0) as bar:
        network.register_forward_pre_hook(lambda whole, rows: bar.reset(2 * len(rows[0])))
        network.dense1.register_forward_hook(lambda layer, rows, found: bar.update(len(found)))
        logits = network.logits(sound, SOUND_RATE)
    seconds = len(sound) / SOUND_RATE
    windows = deepspeech.windows(logits, rate, count or frames_in(seconds, rate))
    about = {"rate": float(deepspeech.RATE), "extractor": "DeepSpeech 0.1.0", "weights": sha256(graph)}
    return Audio(audio=windows, **about), seconds


def frames_in(seconds: float, rate: Fraction) -> int:
    return max(1, round(seconds * rate))


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
