"""Read and write video and sound.

Reading is PyAV (its wheels carry ffmpeg's libraries); writing is ffmpeg-python on the ffmpeg program: the system's,
else the one imageio-ffmpeg brings. Pictures are uint8 RGB, times seconds on the file's own clock.
"""

import hashlib
import json
import mmap
import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import ffmpeg
import imageio_ffmpeg
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import Interpolation, VideoReformatter

from pipeline.errors import InputError
from pipeline.files import require_file, whole, writing

# Video stores colour at half the resolution: interpolate it as players do, not by repetition
SMOOTH_COLOUR = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
LISTS = {"concat", "dash", "hls", "sdp"}  # formats that name other files: what they lead to is nobody's intention
STATED = {"avi", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}  # formats whose header says how long they last
COUNTED = (b"Xing", b"Info")  # an mp3 that begins with one of these says so too
STREAMED = 2**32 - 1  # the length in the header of a wav file whose writer could not go back to it
SHORT = 0.2  # s: a file that ends by more before the time it states was cut off
WIDEST = 4  # times as wide as high, or as high as wide: a pixel beyond that is a damaged header
SOUND_GAP = 0.03  # s: where the sound's own times jump by more, it is placed anew; less is rounding of the times
H264 = {"vcodec": "libx264", "preset": "veryfast"}  # half of "medium"'s work, no larger, and 0.6 of 42 dB worse
AAC = {"acodec": "aac", "audio_bitrate": "128k", "ar": 48000}  # 1024 samples a packet: 21 ms, less than a frame
RECORD = "synopsis"  # mp4's tag for long texts: one of our own would hide title and comment from players
BLANK = "0" * 64  # room for a digest
TAG = {"color_primaries": "bt709", "color_trc": "bt709", "colorspace": "bt709", "range": "tv"}


class Frame(NamedTuple):
    time: float  # s, presentation time
    image: np.ndarray  # (H, W, 3) uint8 RGB, upright, square pixels


@dataclass(frozen=True)
class Video:
    """What a file says about its picture, before anything is decoded."""

    rates: tuple[Fraction, ...]  # frames per second, the likeliest first: containers state several
    sound: bool
    frames: int | None  # about so many; None where the file does not say


def probe(path: Path) -> Video:
    """Look at a video file.

    Raises:
        InputError: the file cannot be read or has no picture.
    """
    with _open(path) as container:
        stream = _picture(path, container)
        rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
        known = tuple(dict.fromkeys(rate for rate in rates if rate))
        length = float(container.duration or 0) / av.time_base  # s
        frames = stream.frames or (round(length * known[0]) if known else 0) or None
        return Video(known, bool(container.streams.audio), frames)


def read_frames(path: Path) -> Iterator[Frame]:
    """Yield every frame of a video.

    Raises:
        InputError: the file cannot be read, has no picture or no frame, is damaged or breaks off; the line names the
            frame.
    """
    count, time, trouble = 0, None, None
    with _open(path) as container:
        stream = _picture(path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}  # a picture patched up by the decoder is no picture
        step = 1 / float(stream.average_rate or 25)
        colours = VideoReformatter()  # one for all frames: its set-up takes as long as a frame
        try:
            for packet in _from_key(container, stream):
                trouble = "a part of the file is missing" if packet.is_corrupt else None
                for frame in stream.decode(None) if trouble else packet.decode():
                    # Raw streams carry no times: count on at the stated rate.
                    counted = 0.0 if time is None else time + step
                    time = counted if frame.pts is None else float(frame.pts * stream.time_base)
                    picture = colours.reformat(frame, format="rgb24", interpolation=SMOOTH_COLOUR).to_ndarray()
                    yield Frame(time, _upright(picture, frame, stream.sample_aspect_ratio))
                    count += 1
                if trouble:
                    break
        except (av.FFmpegError, ValueError) as error:
            trouble = _reason(error)
    if trouble:
        after = "at its beginning" if time is None else f"after {time:.2f} s"
        raise InputError(
            f"{path}: breaks off at frame {count}, {after} ({trouble}); copy the file again or cut it there"
        )
    if count == 0:
        raise InputError(f"{path}: holds no frame; record or copy the clip again")


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
    with _open(path) as container:
        if not container.streams.audio:
            raise InputError(f"{path}: has no sound; use a clip with sound or a sound file")
        if container.streams.audio[0].codec_context is None:
            raise InputError(f"{path}: its sound is in a format that ffmpeg does not know; convert it to wav")
        place, before = 0, None
        for time, block in _decoded_sound(path, container, rate):
            if end is None:
                start, end = _picture_start(path, time) if start is None else start, 0
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


def write_aac(path: Path, sound: Path, seconds: float) -> None:
    """Write the first `seconds` of a sound file as mono AAC, which every browser plays, into an .m4a file."""
    heard = ffmpeg.input(_url(sound), t=seconds)["a"]
    with whole(path) as temporary:
        _run(path, ffmpeg.output(heard, _url(temporary), acodec="aac", audio_bitrate="64k", ac=1))


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of the file's "picture" and "sound" as they are stored: set-up, bytes, times, how the picture is turned.

    A video that was encoded anew, cut, retimed, turned or edited has others; its title and comment do not count.

    Raises:
        InputError: the file cannot be read, or breaks off.
    """
    found = {}
    try:
        with _open(path) as container:
            for stream in container.streams:
                found.setdefault(_name(stream), hashlib.sha256()).update(stream.codec_context.extradata or b"")
            for packet in container.demux():
                if packet.size:
                    found[_name(packet.stream)].update(f"{packet.pts * packet.time_base}".encode() + bytes(packet))
        with _open(path) as container:
            stream = _picture(path, container)
            turned = f"{stream.sample_aspect_ratio}".encode() + _matrix(next(container.decode(stream)))
            found["picture"].update(turned)
    except (av.FFmpegError, StopIteration) as error:
        raise InputError(f"{path}: breaks off ({_reason(error)}); copy the file again") from None
    return {name: digest.hexdigest() for name, digest in found.items()}


def read_record(path: Path) -> str:
    """What a video that `VideoWriter` wrote says of how it was made, as JSON.

    Raises:
        InputError: the file cannot be read, or says nothing.
    """
    with _open(path) as container:
        if RECORD not in container.metadata:
            raise InputError(
                f"{path}: does not say how it was made; only videos as MyPortrait wrote them do, so give one of those"
            )
        return container.metadata[RECORD]


class VideoWriter:
    """Write an H.264 mp4 batch by batch; the file appears, whole, only when the `with` block ends well.

    Args:
        size: side of a square picture, or (width, height); px, even.
        sound: any file with sound; from `sound_start` s on it must last as long as the picture, to a frame.
        quality: x264's constant rate factor, lower is better; 0 to 51.
        comment: what people must know of the video (that it is synthetic); stored in the file.
        record: how it was made, see pipeline.provenance; stored in the file with the digests of picture and sound.
    """

    def __init__(
        self,
        path: Path,
        *,
        size: int | tuple[int, int],
        fps: Fraction,
        sound: Path | None,
        quality: int,
        comment: str,
        record: dict | None = None,
        sound_start: float = 0.0,
    ):
        width, height = (size, size) if isinstance(size, int) else size
        if width % 2 or height % 2:
            raise InputError(f"{path}: {width}x{height} px; H.264 needs an even width and height")
        self._path, self._fps = Path(path), Fraction(fps)
        self._comment, self._record = comment, record or {}
        self._sound, self._sound_start = sound, float(sound_start)
        self._shape, self._count = (height, width, 3), 0
        self._held = ExitStack()
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=self._path.parent, prefix=f".{self._path.stem}.")
        self._picture = Path(self._held.enter_context(folder)) / "picture.mp4"
        # What ffmpeg complains of is kept in memory: it may be that the disk is full.
        self._errors = self._held.enter_context(os.fdopen(os.memfd_create("errors"), "w+b"))
        raw = {
            "format": "rawvideo",
            "pixel_format": "rgb24",
            "video_size": (width, height),
            "framerate": _text(fps),
        }
        encode = _tagged(ffmpeg.input("pipe:", **raw)).output(_url(self._picture), **H264, crf=quality)
        command = encode.global_args("-loglevel", "error").compile(cmd=program())
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=self._errors)

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
                    self._mux()
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
        if self._count == 0:
            raise InputError(f"{self._path}: not written, no frame was made")

    def _mux(self) -> None:
        """Copy the picture beside the sound, which is as long as the picture to the sample."""
        streams, codecs = [ffmpeg.input(_url(self._picture))["v"]], {"vcodec": "copy"}
        if self._sound is not None:
            voice = self._picture.with_name("sound.wav")
            self._cut_sound(voice)
            streams, codecs = [*streams, ffmpeg.input(_url(voice))["a"]], codecs | AAC
        with whole(self._path) as temporary:
            blank = self._record_with(dict.fromkeys(("picture", "sound")[: len(streams)], BLANK))
            _run(self._path, ffmpeg.output(*streams, _url(temporary), **codecs, **_container(self._comment, blank)))
            _replace(temporary, blank, self._record_with(digests(temporary)))

    def _record_with(self, streams: dict[str, str]) -> str:
        return json.dumps(self._record | {"streams": streams}, sort_keys=True, separators=(",", ":"))

    def _cut_sound(self, path: Path) -> None:
        """Write the sound that belongs to the picture, as long as it is."""
        rate, wanted = AAC["ar"], self._count / self._fps
        there = copy_sound(
            self._sound, path, rate, samples=round(wanted * rate), skip=round(self._sound_start * rate)
        ) / Fraction(rate)
        if abs(there - wanted) > 1 / self._fps:
            raise InputError(
                f"{self._sound}: {float(max(there, 0)):.2f} s of sound from {self._sound_start:.2f} s on for a picture "
                f"of {float(wanted):.2f} s; give the sound that belongs to these frames"
            )


def program() -> str:
    """Path of the ffmpeg program."""
    return shutil.which("ffmpeg") or imageio_ffmpeg.get_ffmpeg_exe()


@contextmanager
def _open(path: Path) -> Iterator[av.container.InputContainer]:
    require_file(path)
    try:
        container = av.open(_url(path), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: neither video nor sound, or cut off before its index ({_reason(error)}); copy the file again"
        ) from None
    with container:
        if container.format.name in LISTS:
            raise InputError(f"{path}: is a list of other files ({container.format.name}); give the clip itself")
        yield container


def _url(path: Path) -> str:
    """A path as ffmpeg takes it, where the name itself may not choose a protocol."""
    return f"file:{path}"


def _moving(container: av.container.InputContainer) -> av.video.stream.VideoStream | None:
    """The moving picture of a file; the cover of a music file is none."""
    videos = container.streams.video
    return next((video for video in videos if not video.disposition & av.stream.Disposition.attached_pic), None)


def _name(stream: av.stream.Stream) -> str:
    return {"video": "picture", "audio": "sound"}.get(stream.type, stream.type)


def _picture(path: Path, container: av.container.InputContainer) -> av.video.stream.VideoStream:
    """The moving picture, sure to be there and to be decodable."""
    stream = _moving(container)
    if stream is None:
        raise InputError(f"{path}: has no picture; a video is needed here")
    if stream.codec_context is None:
        raise InputError(f"{path}: its picture is in a format that ffmpeg does not know; convert it to H.264")
    aspect = stream.sample_aspect_ratio or 1
    if not 1 / WIDEST <= aspect <= WIDEST:
        raise InputError(f"{path}: says that its pixels are {aspect} times as wide as high; convert it to square ones")
    return stream


def _packets(container: av.container.InputContainer) -> Iterator[av.Packet]:
    """The packets of all streams; at their end a ValueError, if the header says that the file lasts longer."""
    end = 0.0
    for packet in container.demux():
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        yield packet
    stated = _stated_length(container)
    if stated > end + SHORT:
        raise ValueError(f"the file ends there, and says that it lasts {stated:.2f} s")


def _stated_length(container: av.container.InputContainer) -> float:
    """How long the file's header says that it lasts, in s; 0 where it does not say."""
    name, length = container.format.name, (container.duration or 0) / av.time_base
    with open(container.name.removeprefix("file:"), "rb") as file:
        head = file.read(2**16)
        size = file.seek(0, os.SEEK_END)
    if name == "wav":  # libav measures what is there
        stated = int.from_bytes(head[4:8], "little")
        return 0.0 if stated == STREAMED else length * (8 + stated) / size
    if name == "avi":  # likewise one that has lost its index
        moving = _moving(container)
        return float(moving.frames / (moving.average_rate or 25)) if moving else length
    return length if name in STATED or (name == "mp3" and any(word in head for word in COUNTED)) else 0.0


def _from_key(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Iterator[av.Packet]:
    """The packets of the picture, without those that need one before the file's beginning."""
    begun = False
    for packet in _packets(container):
        if packet.stream_index == stream.index:
            begun = begun or packet.is_keyframe
            if begun:
                yield packet


def _picture_start(path: Path, otherwise: float) -> float:
    """Time of the first frame in s, decoded: what the container states may be of a frame that is never shown."""
    with _open(path) as container:
        moving = _moving(container)
    return otherwise if moving is None else next(read_frames(path)).time


def _upright(picture: np.ndarray, frame: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """A frame's picture without combing, its pixels stretched to squares, turned and mirrored as the file asks."""
    height, width = picture.shape[:2]
    if frame.interlaced_frame:  # two moments in one picture: the first fills the lines of the second
        picture = cv2.resize(picture[::2], (width, height), interpolation=cv2.INTER_LINEAR)
    if aspect and aspect != 1:
        stretched = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        picture = cv2.resize(picture, stretched, interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(_displayed(picture, frame))


def _matrix(frame: av.VideoFrame) -> bytes:
    """The frame's display matrix, empty where it has none."""
    return next((bytes(side) for side in frame.side_data if side.type == Type.DISPLAYMATRIX), b"")


def _displayed(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """The picture under the frame's display matrix, by quarter turns and mirrors."""
    matrix = _matrix(frame)
    if not matrix:
        return picture
    (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2].tolist()  # x' = ax + cy, y' = bx + dy
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _decoded_sound(path: Path, container: av.container.InputContainer, rate: int) -> Iterator[tuple[float, np.ndarray]]:
    """The first sound stream as blocks (T,) float32 at `rate` Hz, each with the time in s of its unbroken piece."""
    resampler, form, begun, expected = None, None, 0.0, None
    index = container.streams.audio[0].index
    frames = (frame for packet in _packets(container) if packet.stream_index == index for frame in packet.decode())
    try:
        for frame in frames:
            time = frame.time if frame.time is not None else expected or 0.0
            now = (frame.format.name, frame.layout.name, frame.sample_rate)
            if resampler is None or now != form or abs(time - expected) > SOUND_GAP:
                yield from zip(repeat(begun), _mono(resampler, None), strict=False)
                # Channels are averaged here: the resampler's own down-mix changes the level with the sample format.
                resampler, form, begun = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate), now, time
            yield from zip(repeat(begun), _mono(resampler, frame), strict=False)
            expected = time + frame.samples / frame.sample_rate
        yield from zip(repeat(begun), _mono(resampler, None), strict=False)
    except (av.FFmpegError, ValueError) as error:
        raise InputError(
            f"{path}: its sound breaks off after {expected or 0:.2f} s: {_reason(error)}; copy the file again"
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


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _words(text: bytes) -> str:
    """What ffmpeg said, in one line: its first complaint is the cause, the rest follows from it."""
    return "; ".join(text.decode(errors="replace").strip().splitlines()[:2]) or "ffmpeg stopped"
