"""Encode video and sound: ffmpeg-python on the ffmpeg program, the system's, else the one imageio-ffmpeg brings."""

import json
import mmap
import os
import shutil
import subprocess
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path

import ffmpeg
import imageio_ffmpeg
import numpy as np

from pipeline.errors import InputError
from pipeline.files import temporary_of, whole, writing
from pipeline.media import RECORD, digests, url
from pipeline.sound import copy_sound

H264 = {"vcodec": "libx264", "preset": "veryfast"}  # half of "medium"'s work, no larger, and 0.6 of 42 dB worse
AAC = {"acodec": "aac", "audio_bitrate": "128k", "ar": 48000}  # 1024 samples a packet: 21 ms, less than a frame
BLANK = "0" * 64  # room for a digest
TAG = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "range": "tv"}


class VideoWriter:
    """Write an H.264 mp4 batch by batch; the file appears, whole, only when the `with` block ends well.

    Args:
        size: side of a square picture, or (width, height); px, even.
        frames: how many will come.
        sound: any file with sound; from `sound_start` s on it must last as long as the picture, to a frame.
        quality: x264's constant rate factor, lower is better; 0 to 51.
        comment: what people must know of the video (that it is synthetic); stored in the file.
        record: how it was made, see pipeline.provenance; stored in the file with the digests of picture and sound.

    Raises:
        InputError: at once, where the sound has another length or the file cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: int | tuple[int, int],
        fps: Fraction,
        frames: int,
        sound: Path | None,
        quality: int,
        comment: str,
        record: dict | None = None,
        sound_start: float = 0.0,
    ):
        width, height = (size, size) if isinstance(size, int) else size
        if width % 2 or height % 2:
            raise InputError(f"{path}: {width}x{height} px; H.264 needs an even width and height")
        self._path, self._shape = Path(path), (height, width, 3)
        self._frames, self._count = frames, 0
        self._record, streams = record or {}, ["picture"] if sound is None else ["picture", "sound"]
        self._blank = self._record_with(dict.fromkeys(streams, BLANK))
        raw = {"format": "rawvideo", "pixel_format": "rgb24", "video_size": (width, height), "framerate": _text(fps)}
        shown, codecs = [_tagged(ffmpeg.input("pipe:", **raw))], H264 | {"crf": quality}
        with ExitStack() as held:
            self._temporary = held.enter_context(temporary_of(self._path))
            with writing(self._path):
                self._temporary.touch()
            # What ffmpeg complains of is kept in memory: it may be that the disk is full.
            self._errors = held.enter_context(os.fdopen(os.memfd_create("errors"), "w+b"))
            if sound is not None:
                voice = held.enter_context(temporary_of(self._path.with_suffix(".wav")))
                _cut_sound(sound, voice, float(sound_start), frames, fps)
                shown, codecs = [*shown, ffmpeg.input(url(voice))["a"]], codecs | AAC
            file = ffmpeg.output(*shown, url(self._temporary), **codecs, **_container(comment, self._blank))
            command = ffmpeg.overwrite_output(file.global_args("-loglevel", "error")).compile(cmd=program())
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self._errors)
            self._held = held.pop_all()

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, frames: np.ndarray) -> None:
        """Add (n, H, W, 3) uint8 RGB frames."""
        if frames.shape[1:] != self._shape or frames.dtype != np.uint8:
            raise ValueError(f"expected (n, {self._shape}) uint8, got {frames.shape} {frames.dtype}")
        try:
            self._process.stdin.write(np.ascontiguousarray(frames).data)
        except BrokenPipeError:
            self._finish()  # says why ffmpeg stopped
        self._count += len(frames)

    def __exit__(self, kind, value, trace) -> None:
        with self._held:
            try:
                if kind is None:
                    self._finish()
                    self._publish()
            finally:
                self._process.kill()
                self._process.wait()

    def _finish(self) -> None:
        """Let the encoder end."""
        with suppress(BrokenPipeError):  # its exit status tells
            self._process.stdin.close()
        if self._process.wait():
            self._errors.seek(0)
            raise InputError(f"{self._path}: cannot be written: {_words(self._errors.read())}")
        if self._count != self._frames:
            raise InputError(
                f"{self._path}: not written: {self._count} frames came, {self._frames} were due; "
                "what it is made of does not fit together, make that again"
            )

    def _publish(self) -> None:
        with writing(self._path):
            _replace(self._temporary, self._blank, self._record_with(digests(self._temporary)))
            os.replace(self._temporary, self._path)

    def _record_with(self, streams: dict[str, str]) -> str:
        return json.dumps(self._record | {"streams": streams}, sort_keys=True, separators=(",", ":"))


def write_aac(path: Path, sound: Path, seconds: float) -> None:
    """Write the first `seconds` of a sound file as mono AAC, which every browser plays, into an .m4a file."""
    heard = ffmpeg.input(url(sound), t=seconds)["a"]
    with whole(path) as temporary:
        _run(path, ffmpeg.output(heard, url(temporary), acodec="aac", audio_bitrate="64k", ac=1))


def _cut_sound(source: Path, path: Path, start: float, frames: int, fps: Fraction) -> None:
    """Write the sound from `start` s on that belongs to so many frames, as long as they are to the sample."""
    rate, wanted = AAC["ar"], frames / fps
    there = copy_sound(source, path, rate, samples=round(wanted * rate), skip=round(start * rate)) / Fraction(rate)
    if abs(there - wanted) > 1 / fps:
        raise InputError(
            f"{source}: {float(max(there, 0)):.2f} s of sound from {start:.2f} s on for a picture "
            f"of {float(wanted):.2f} s; give the sound that belongs to these frames"
        )


def program() -> str:
    """Path of the ffmpeg program."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


def _tagged(picture):
    """RGB to the colours of HD video, and say so in the stream: players assume others by size where it is left out."""
    picture = picture.filter(
        "scale", out_color_matrix="bt709", out_range="tv", flags="bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
    )
    return picture.filter("format", "yuv420p").filter("setparams", **TAG)


def _container(comment: str, record: str) -> dict:
    """Options of the mp4 container: index first, so that it plays while it loads, and what the file says of itself."""
    said = {"title": comment, "comment": comment, RECORD: record}
    return {"movflags": "+faststart"} | {f"metadata:g:{n}": f"{key}={said[key]}" for n, key in enumerate(said)}


def _replace(path: Path, old: str, new: str) -> None:
    """Put a text in the place of one as long: what a file says of itself is known only when it is written."""
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
        at = content.find(old.encode())
        content[at : at + len(old)] = new.encode()


def _run(path: Path, stream) -> None:
    """Run ffmpeg to the end.

    Raises:
        InputError: with the last line of ffmpeg's own words.
    """
    command = ffmpeg.overwrite_output(stream.global_args("-loglevel", "error", "-nostdin")).compile(cmd=program())
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"{path}: cannot be written: {_words(done.stderr)}")


def _text(fps: Fraction) -> str:
    return f"{fps.numerator}/{fps.denominator}"


def _words(text: bytes) -> str:
    """What ffmpeg said, in one line: its first complaint is the cause, the rest follows from it."""
    return "; ".join(text.decode(errors="replace").strip().splitlines()[:2]) or "ffmpeg stopped"
