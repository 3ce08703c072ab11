"""Tiny real media files for the tests."""

import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.encoding import VideoWriter, program
from pipeline.media import read_frames
from pipeline.sound import write_sound

SOUND_RATE = 48000


def pictures(count: int, width: int = 64, height: int = 48) -> np.ndarray:
    """(count, height, width, 3) uint8: a soft bright disc on a dark ground, in another place in every frame."""
    y, x = np.mgrid[:height, :width]
    phase = np.arange(count)[:, None, None] * 0.4
    distance = np.hypot(x - width * (0.5 + 0.25 * np.sin(phase)), y - height * (0.5 + 0.25 * np.cos(phase)))
    disc = np.clip(height / 5 - distance, 0, 1)
    return (40 + disc[..., None] * np.array([180, 140, 90])).astype(np.uint8)


def write_clip(
    path: Path,
    images: np.ndarray,
    *,
    rate: Fraction | int = 25,
    times: list[Fraction] | None = None,
    sound: np.ndarray | None = None,
    sound_start: Fraction = Fraction(0),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    aspect: Fraction = Fraction(1),
    options: dict[str, str] | None = None,
) -> Path:
    """Encode `images` (n, H, W, 3) uint8, shown at `times` s or at k/rate; `sound` (T,) begins at `sound_start` s.

    `options` are the encoder's and the container's.
    """
    options = options or {}
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream(codec, rate=Fraction(rate))
        video.height, video.width = images.shape[1:3]
        video.pix_fmt = pixels
        video.codec_context.sample_aspect_ratio = aspect
        video.codec_context.time_base = Fraction(1, 90000) if times else 1 / Fraction(rate)
        video.options = ({"crf": "12"} if codec == "libx264" else {}) | options
        if sound is not None:
            speaker = container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.time_base = video.codec_context.time_base
            frame.pts = round((times[number] if times else Fraction(number) / rate) / frame.time_base)
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if sound is not None:
            first = round(sound_start * SOUND_RATE)
            for begin in range(0, len(sound), 1024):
                part = sound[None, begin : begin + 1024].astype(np.float32)
                frame = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = SOUND_RATE, Fraction(1, SOUND_RATE), first + begin
                container.mux(speaker.encode(frame))
            container.mux(speaker.encode())
    return path


def click(duration: float, at: float, rate: int = SOUND_RATE) -> np.ndarray:
    """(T,) silence with one 20 ms burst of a 1 kHz tone, beginning `at` s."""
    time = np.arange(round(duration * rate)) / rate
    return np.where((time >= at) & (time < at + 0.02), 0.8 * np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)


def onset(sound: np.ndarray, rate: int) -> float:
    """When the sound first rises above a tenth of its peak, s."""
    loud = np.abs(sound)
    return int(np.argmax(loud > 0.1 * loud.max())) / rate


def turn(path: Path, out: Path, degrees: int) -> Path:
    """Copy a video and ask players to show it turned anticlockwise."""
    run_ffmpeg("-display_rotation", degrees, "-i", path, "-c", "copy", out)
    return out


def run_ffmpeg(*words) -> None:
    subprocess.run([program(), "-y", "-loglevel", "error", *map(str, words)], check=True)


def bad_files(folder: Path) -> dict[str, Path]:
    """Files that are no whole video, by what is wrong with them."""
    files = {name: folder / f"{name}.mp4" for name in ("missing", "folder", "empty", "text", "truncated")}
    files["folder"].mkdir()
    files["empty"].touch()
    files["text"].write_text("hello\n" * 50)
    whole = write_clip(files["truncated"], pictures(20)).read_bytes()
    files["truncated"].write_bytes(whole[: len(whole) // 2])  # the index is at the end
    files["list"] = folder / "list.mp4"
    files["list"].write_text("ffconcat version 1.0\nfile audio.wav\n")
    files["unknown"] = folder / "unknown.mp4"
    files["unknown"].write_bytes(whole.replace(b"avc1", b"xxxx"))
    files["audio"] = folder / "audio.wav"
    write_sound(files["audio"], click(0.2, 0.1, 16000), 16000)
    return files


def encode(path: Path, images: np.ndarray, *, fps=Fraction(25), sound=None, **options) -> Path:
    """Write `images` (n, H, W, 3) uint8 as results are written; `options` are VideoWriter's."""
    height, width = images.shape[1:3]
    with VideoWriter(
        path,
        size=(width, height),
        fps=fps,
        frames=len(images),
        sound=sound,
        quality=10,
        comment="synthetic",
        **options,
    ) as video:
        for start in range(0, len(images), 4):
            video.write(images[start : start + 4])
    return path


def noisy(count: int) -> np.ndarray:
    """(count, 64, 64, 3) uint8: every frame needs many bytes."""
    return np.random.default_rng(0).integers(0, 255, (count, 64, 64, 3), dtype=np.uint8)


def images_of(path: Path) -> np.ndarray:
    """(n, H, W, 3) uint8: every frame of a video."""
    return np.stack([frame.image for frame in read_frames(path)])
