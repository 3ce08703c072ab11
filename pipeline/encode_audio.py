"""Turn the sound into features, one window per video frame."""

from fractions import Fraction
from pathlib import Path

import numpy as np

from models.log_mel import RATE, SOUND_RATE, log_mel_windows
from pipeline.cli import run
from pipeline.errors import InputError
from pipeline.media import read_sound
from pipeline.stores import Audio, open_frames, write_audio


def main(*, audio: Path, out: Path, frames: Path | None = None, fps: str | None = None) -> None:
    """Encode.

    Args:
        audio: any file with sound; its beginning is the time of frame 0.
        out: audio store to write.
        frames: frame store whose number and rate of frames count; sound that is missing at the end is silence.
        fps: for speech without a clip: frames per second, as "25" or "30000/1001"; as many frames as the sound lasts.
    """
    if (frames is None) == (fps is None):
        raise InputError(f"{audio}: give either --frames, the clip's frame store, or --fps, not both")
    sound = read_sound(audio, SOUND_RATE)
    if frames is not None:
        with open_frames(frames) as store:
            rate, count = store.fps, len(store)
    else:
        rate = rate_of(fps)
        count = max(1, round(len(sound) / SOUND_RATE * rate))
    windows = log_mel_windows(sound, np.arange(count) / float(rate))
    write_audio(out, Audio(audio=windows, rate=float(RATE), extractor="log-mel 29", weights=""))
    print(f"{Path(audio).name}: {len(sound) / SOUND_RATE:.2f} s of sound, {count} frames at {float(rate):.3f} frames/s")


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
