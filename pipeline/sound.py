"""Read and write sound: mono, float32 in [-1, 1], on the clock of the picture beside it."""

import wave
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path

import av
import numpy as np

from pipeline.errors import InputError
from pipeline.files import whole
from pipeline.media import opened, packets, picture_start, reason

SOUND_GAP = 0.03  # s: where the sound's own times jump by more, it is placed anew; less is rounding of the times


def read_sound(path: Path, rate: int) -> np.ndarray:
    """All of `sound_blocks`, (T,), at once."""
    samples = bytearray()  # grows in place, where a list of blocks would be copied
    for block in sound_blocks(path, rate):
        samples += block.astype(np.float32).tobytes()
    return np.frombuffer(samples, np.float32)


def sound_blocks(path: Path, rate: int, start: float | None = None) -> Iterator[np.ndarray]:
    """Read the sound as mono float32 in [-1, 1] at `rate` Hz, block (T,) after block.

    The first sample is at `start` seconds of the file's clock: by default where the picture begins, or the sound itself
    in a file without picture. What comes earlier is cut, what is missing is silence.

    Raises:
        InputError: the file cannot be read, has no sound, or a sample is not a finite number.
    """
    end = None  # samples from `start` to the end of the last block
    with opened(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path}: has no sound; use a clip with sound or a sound file")
        if container.streams.audio[0].codec_context is None:
            raise InputError(f"{path}: its sound is in a format that ffmpeg does not know; convert it to wav")
        place, before = 0, None
        for time, block in _decoded_sound(path, container, rate):
            if end is None:
                start, end = picture_start(path, time) if start is None else start, 0
            if time != before:
                place, before = round((time - start) * rate), time
            if place > end:
                yield np.zeros(place - end, np.float32)
            new, place = block[max(0, end - place) :], place + len(block)
            end = max(end, place)
            bad = np.flatnonzero(~np.isfinite(new))
            if len(bad):
                at = (end - len(new) + bad[0]) / rate
                raise InputError(f"{path}: the sound is not a finite number at {at:.3f} s; export the sound again")
            yield np.clip(new, -1, 1)
    if end is None:
        raise InputError(f"{path}: its sound is empty; export the file again, without sound if there is none")


def write_sound(path: Path, sound: np.ndarray, rate: int) -> None:
    """Write mono `sound` (T,) in [-1, 1] at `rate` Hz as a 16-bit wav file."""
    with _wav(path, rate) as file:
        file.writeframes(_sixteen_bit(sound))


def copy_sound(
    source: Path | None, path: Path, rate: int, *, samples: int, start: float | None = None, skip: int = 0
) -> int:
    """Write `samples` samples of a file's sound, see `sound_blocks`, without the first `skip`, as `write_sound` does.

    What is missing at the end, or all where `source` is None, is silence. Gives the number of samples that there are
    after those skipped. Only a block is held at a time.
    """
    end = -skip
    with _wav(path, rate) as file:
        for block in sound_blocks(source, rate, start) if source else ():
            file.writeframes(_sixteen_bit(block[max(0, -end) : max(0, samples - end)]))
            end += len(block)
        file.writeframes(bytes(2 * (samples - np.clip(end, 0, samples))))
    return end


def _decoded_sound(path: Path, container: av.container.InputContainer, rate: int) -> Iterator[tuple[float, np.ndarray]]:
    """The first sound stream as blocks (T,) float32 at `rate` Hz, each with the time in s of its unbroken piece."""
    resampler, form, begun, expected = None, None, 0.0, 0.0
    frames = (frame for packet in packets(container, container.streams.audio[0]) for frame in packet.decode())
    try:
        for frame in frames:
            time = frame.time if frame.time is not None else expected
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != form or abs(time - expected) > SOUND_GAP:
                yield from zip(repeat(begun), _mono(resampler, None), strict=False)
                # Channels are averaged here: the resampler's own down-mix changes the level with the sample format.
                resampler, form = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate), now
                begun = expected = time
            yield from zip(repeat(begun), _mono(resampler, frame), strict=False)
            expected += frame.samples / frame.sample_rate  # from the piece's beginning, or small gaps would be lost
        yield from zip(repeat(begun), _mono(resampler, None), strict=False)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path}: its sound breaks off after {expected:.2f} s: {reason(error)}; copy the file again"
        ) from None


def _mono(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> list[np.ndarray]:
    """What comes out of the resampler, (T,) each, when a frame goes in; None: the rest."""
    return [] if resampler is None else [part.to_ndarray().mean(0) for part in resampler.resample(frame)]


@contextmanager
def _wav(path: Path, rate: int) -> Iterator[wave.Wave_write]:
    """A mono 16-bit wav file, there when the block ends well."""
    with whole(path) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        yield file


def _sixteen_bit(sound: np.ndarray) -> bytes:
    return np.round(np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes()
