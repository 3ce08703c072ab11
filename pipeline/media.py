"""Read video.

By PyAV, whose wheels carry ffmpeg's libraries. Pictures are uint8 RGB, times seconds on the file's own clock.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter

from pipeline.errors import InputError
from pipeline.files import require_file

# Video stores colour at half the resolution: interpolate it as players do, not by repetition
SMOOTH_COLOUR = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND
HDR = {ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67}  # PQ and HLG: more light than a screen's white, as many phones record
SDR = {"dst_color_trc": ColorTrc.IEC61966_2_1, "dst_color_primaries": ColorPrimaries.BT709}
LISTS = {"concat", "dash", "hls", "sdp"}  # formats that name other files: what they lead to is nobody's intention
STATED = {"avi", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"}  # formats whose header says how long they last
COUNTED = (b"Xing", b"Info")  # an mp3 that begins with one of these says so too
STREAMED = 0x7FFFF000  # bytes, or more: says the header of a wav file whose writer could not go back to it
SHORT = 0.2  # s: a file that ends by more before the time it states was cut off
WIDEST = 4  # times as wide as high, or as high as wide: a pixel beyond that is a damaged header
RECORD = "synopsis"  # mp4's tag for long texts: one of our own would hide title and comment from players


@dataclass(frozen=True)
class _Clip:
    """What the frames of a video share. A converter's set-up takes as long as a frame, so there is one for all."""

    aspect: Fraction | None  # of a pixel
    colours: VideoReformatter = field(default_factory=VideoReformatter)
    lights: VideoReformatter = field(default_factory=VideoReformatter)
    greys: VideoReformatter = field(default_factory=VideoReformatter)


class Frame:
    """A decoded frame. What it shows is made when it is asked for, as that takes longer than decoding."""

    def __init__(self, clip: _Clip, time: float, decoded: av.VideoFrame):
        self.time = time  # s, presentation time
        self.form = decoded.width, decoded.height, _matrix(decoded)  # px, px, how it is turned: a clip keeps its form
        self._clip, self._decoded = clip, decoded

    @cached_property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, upright, square pixels. Of HDR, what is brighter than a screen's white is white."""
        # plane by plane: the same values in a third of the time that the converter takes for whole pixels
        hdr = self._decoded.color_trc in HDR
        planar = self._clip.colours.reformat(
            self._decoded, format="gbrp16le" if hdr else "gbrp", interpolation=SMOOTH_COLOUR
        )
        if hdr:  # in a step of its own: asked for both at once, the converter mixes the colours up
            planar = self._clip.lights.reformat(planar, format="gbrp", interpolation=SMOOTH_COLOUR, **SDR)
        green, blue, red = map(_values, planar.planes)
        return _upright(cv2.merge([red, green, blue]), self._decoded, self._clip.aspect)

    def thumbnail(self, side: int) -> np.ndarray:
        """(side, side) float32 grey levels, each the mean of its part of the frame as it is stored.

        Neither turned nor stretched: to compare frames of one clip with each other. `side` is a hundredth of the
        frame's or more.
        """
        wanted = {"width": side, "height": side, "format": "gray16le", "interpolation": Interpolation.AREA}
        return self._clip.greys.reformat(self._decoded, **wanted).to_ndarray().astype(np.float32) / 257


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
    with opened(path) as container:
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
    with opened(path) as container:
        stream = _picture(path, container)
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"err_detect": "explode"}  # a picture patched up by the decoder is no picture
        step = 1 / float(stream.average_rate or 25)
        clip = _Clip(stream.sample_aspect_ratio)
        try:
            for packet in _from_key(container, stream):
                trouble = "a part of the file is missing" if packet.is_corrupt else None
                for frame in stream.decode(None) if trouble else packet.decode():
                    # Raw streams carry no times: count on at the stated rate.
                    counted = 0.0 if time is None else time + step
                    time = counted if frame.pts is None else float(frame.pts * stream.time_base)
                    yield Frame(clip, time, frame)
                    count += 1
                if trouble:
                    break
        except (av.FFmpegError, ValueError) as error:
            trouble = reason(error)
    if trouble:
        after = "at its beginning" if time is None else f"after {time:.2f} s"
        remedy = "cut it there" if count else "encode it anew"  # cut from a longer one, it may lack what it begins with
        raise InputError(f"{path}: breaks off at frame {count}, {after} ({trouble}); copy the file again or {remedy}")
    if count == 0:
        raise InputError(f"{path}: holds no frame; record or copy the clip again")


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of the file's "picture" and "sound" as they are stored: set-up, bytes, times, how the picture is turned.

    A video that was encoded anew, cut, retimed, turned or edited has others; its title and comment do not count.

    Raises:
        InputError: the file cannot be read, or breaks off.
    """
    found = {}
    try:
        with opened(path) as container:
            for stream in container.streams:
                setup = stream.codec_context.extradata if stream.codec_context else None
                found.setdefault(_name(stream), hashlib.sha256()).update(setup or b"")
            for packet in container.demux():
                if packet.size:
                    found[_name(packet.stream)].update(f"{packet.pts * packet.time_base}".encode() + bytes(packet))
        with opened(path) as container:
            stream = _picture(path, container)
            turned = f"{stream.sample_aspect_ratio}".encode() + _matrix(next(container.decode(stream)))
            found["picture"].update(turned)
    except (av.FFmpegError, StopIteration) as error:
        raise InputError(f"{path}: breaks off ({reason(error)}); copy the file again") from None
    return {name: digest.hexdigest() for name, digest in found.items()}


def read_record(path: Path) -> str:
    """What a video that `VideoWriter` wrote says of how it was made, as JSON.

    Raises:
        InputError: the file cannot be read, or says nothing.
    """
    with opened(path) as container:
        if RECORD not in container.metadata:
            raise InputError(
                f"{path}: does not say how it was made; only videos as MyPortrait wrote them do, so give one of those"
            )
        return container.metadata[RECORD]


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    """A file of video or sound.

    Raises:
        InputError: it is missing, neither of both, or a list of other files.
    """
    require_file(path)
    try:
        container = av.open(url(path), metadata_errors="replace", options={"protocol_whitelist": "file"})
    except av.FFmpegError as error:
        raise InputError(
            f"{path}: neither video nor sound, or cut off before its index ({reason(error)}); copy the file again"
        ) from None
    with container:
        if container.format.name in LISTS:
            raise InputError(f"{path}: is a list of other files ({container.format.name}); give the clip itself")
        yield container


def url(path: Path) -> str:
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


def packets(container: av.container.InputContainer, stream: av.stream.Stream) -> Iterator[av.Packet]:
    """The packets of a stream; at the file's end a ValueError, if the header says that it lasts longer."""
    end = 0.0
    for packet in container.demux():
        if packet.pts is not None:
            end = max(end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
        if packet.stream.index == stream.index:  # the last one's own `stream_index` is 0, whatever its stream
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
        return 0.0 if stated >= STREAMED else length * (8 + stated) / size
    if name == "avi":  # likewise one that has lost its index
        moving = _moving(container)
        return float(moving.frames / (moving.average_rate or 25)) if moving else length
    return length if name in STATED or (name == "mp3" and any(word in head for word in COUNTED)) else 0.0


def _from_key(container: av.container.InputContainer, stream: av.video.stream.VideoStream) -> Iterator[av.Packet]:
    """The packets of the picture, without those that need one before the file's beginning."""
    begun = False
    for packet in packets(container, stream):
        begun = begun or packet.is_keyframe
        if begun:
            yield packet


def picture_start(path: Path, otherwise: float) -> float:
    """Time of the first frame in s, decoded: what the container states may be of a frame that is never shown."""
    with opened(path) as container:
        moving = _moving(container)
    return otherwise if moving is None else next(read_frames(path)).time


def _values(plane: av.video.plane.VideoPlane) -> np.ndarray:
    """(H, W) uint8, a view."""
    return np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def _upright(picture: np.ndarray, frame: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """A frame's picture without combing, its pixels stretched to squares, turned and mirrored as the file asks."""
    height, width = picture.shape[:2]
    if frame.interlaced_frame:  # two moments in one picture: the first fills the lines of the second
        picture = cv2.resize(picture[::2], (width, height), interpolation=cv2.INTER_LINEAR)
    if aspect and aspect != 1:
        stretched = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
        picture = cv2.resize(picture, stretched, interpolation=cv2.INTER_CUBIC)
    return _displayed(picture, frame)


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
        picture, a, d = cv2.transpose(picture), c, b
    flipped = {(True, False): 0, (False, True): 1, (True, True): -1}  # upside down, mirrored: OpenCV's code
    mirror = flipped.get((d < 0, a < 0))
    return picture if mirror is None else cv2.flip(picture, mirror)


def reason(error: Exception) -> str:
    """What went wrong, in libav's words."""
    return getattr(error, "strerror", None) or str(error)
