"""Bad and hard clips through the first two steps: a right result, or one line that names file, frame and remedy."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from pipeline import crop, stores, track_face
from pipeline.errors import InputError
from pipeline.sound import read_sound
from tests.clips import click, onset, run_ffmpeg, turn, write_clip
from tests.project_for_tests import Project, copy_project

FRAMES, BEEP = 20, 0.5
GREY = np.full((256, 256, 3), 110, np.uint8)
CROP = {"size": 128, "margin": 1.3, "stride": 5, "min_found": 0.5, "repetition": 0.25}


class Made(NamedTuple):
    frames: np.ndarray  # (N, 128, 128, 3)
    fps: Fraction
    sound: np.ndarray  # at 16 kHz
    face: stores.Face


def nodding(count: int = FRAMES) -> np.ndarray:
    """(count, 256, 256, 3) uint8: a head that moves by 2 px a frame, to and fro."""
    return np.stack([astronaut()[:256, 86 + shift : 342 + shift] for shift in 2 * abs(np.arange(count) % 20 - 10)])


@pytest.fixture(scope="module")
def prepare(face_mesh_weights, tmp_path_factory) -> Callable[[Path], Made]:
    """Run crop and track_face on a clip, as the workflow does."""

    def run(video: Path, **changes) -> Made:
        folder, networks = tmp_path_factory.mktemp("made"), face_mesh_weights[0].parent
        frames, audio, face = (folder / name for name in ("frames.h5", "audio.wav", "face.h5"))
        same = {"networks": networks, "tracker": "mediapipe", "device": "cpu"}
        try:
            crop.main(video=video, out=frames, audio=audio, **same, **CROP | changes)
            track_face.main(frames=frames, out=face, **same, batch=32, min_valid=0.5)
        except InputError:
            assert not {path.name for path in folder.iterdir()} - {"frames.h5", "audio.wav"}
            raise
        with stores.open_frames(frames) as store:
            return Made(store.frames[:], store.fps, read_sound(audio, 16000), stores.read_face(face))

    return run


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return write_clip(tmp_path_factory.mktemp("plain") / "plain.mp4", nodding(), sound=click(0.8, BEEP))


@pytest.fixture(scope="module")
def expected(plain, prepare) -> Made:
    return prepare(plain)


# Clips that say the same in another way


def converted(*words: str) -> Callable[[Path, Path], None]:
    return lambda plain, out: run_ffmpeg("-i", plain, *words, out)


SAME = {
    "webm with vp9 and opus.webm": converted("-c:v", "libvpx-vp9", "-c:a", "libopus"),
    "alpha.webm": converted("-c:v", "libvpx-vp9", "-pix_fmt", "yuva420p", "-c:a", "libopus"),
    "alpha.mov": converted("-c:v", "qtrle", "-pix_fmt", "argb"),
    "xvid.avi": converted("-c:v", "mpeg4", "-q:v", "2", "-bf", "0", "-c:a", "pcm_s16le"),
    "ten bits.mp4": converted("-pix_fmt", "yuv420p10le"),
    "hevc.mkv": converted("-c:v", "libx265", "-x265-params", "log-level=none"),
    "av1.mp4": converted("-c:v", "libsvtav1", "-preset", "12", "-crf", "20", "-svtav1-params", "lp=1"),
    "interlaced.mpg": converted("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct", "-vf", "setfield=tff"),
    "broadcast.ts": converted("-c:a", "mp2"),
    "pixels half as wide.mp4": converted("-vf", "scale=128:256,setsar=2"),
    "8 kHz.mp4": converted("-c:v", "copy", "-ar", "8000"),
    "48 kHz in stereo.mp4": converted("-c:v", "copy", "-ar", "48000", "-ac", "2"),
    "fragments.mp4": converted("-c", "copy", "-movflags", "frag_keyframe+empty_moov"),
    "matroska named.mp4": lambda plain, out: run_ffmpeg("-i", plain, "-c", "copy", "-f", "matroska", out),
    "two pictures.mp4": lambda plain, out: run_ffmpeg(
        *("-i", plain, "-i", plain, "-map", "0", "-map", "1:v", "-c", "copy", out)
    ),
    "turned by 90.mp4": lambda plain, out: turned(plain, out, 90),
    "turned by 180.mp4": lambda plain, out: turned(plain, out, 180),
    "turned by 270.mp4": lambda plain, out: turned(plain, out, 270),
}


def turned(plain: Path, out: Path, degrees: int) -> None:
    """The picture lies on its side, and the file asks to show it upright, with its sound."""
    lying = out.with_name("lying.mp4")
    run_ffmpeg("-i", plain, "-vf", f"rotate={degrees}*PI/180", "-c:a", "copy", lying)
    turn(lying, out, degrees)


@pytest.mark.parametrize("name", SAME)
def test_the_same_clip_in_another_form_gives_the_same(tmp_path, prepare, plain, expected, name):
    SAME[name](plain, tmp_path / name)
    made = prepare(tmp_path / name)
    assert (made.fps, len(made.frames)) == (25, FRAMES) and made.face.valid.all()
    assert len(made.sound) == FRAMES * 640 and onset(made.sound, 16000) == pytest.approx(BEEP, abs=0.03)
    assert np.abs(made.face.landmarks - expected.face.landmarks).mean() < 4  # px: the crop may differ by a few


@pytest.mark.parametrize("rate", [1, 10, Fraction(24000, 1001), 25, Fraction(30000, 1001), 50, 60, 120])
def test_every_rate_is_kept(tmp_path, prepare, rate):
    made = prepare(write_clip(tmp_path / "a.mp4", nodding(12), rate=rate, sound=click(12 / rate, 6 / rate)))
    assert (made.fps, len(made.frames)) == (rate, 12) and made.face.valid.all()
    assert onset(made.sound, 16000) == pytest.approx(float(6 / rate), abs=0.004)


@pytest.mark.parametrize(("width", "height"), [(48, 48), (161, 203), (3840, 2160)], ids=["48x48", "odd", "4K"])
def test_every_size_is_read(tmp_path, prepare, width, height):
    head = min(width, height)
    images = np.full((4, height, width, 3), 90, np.uint8)
    images[:, :head, :head] = [cv2.resize(image, (head, head), interpolation=cv2.INTER_AREA) for image in nodding(4)]
    made = prepare(write_clip(tmp_path / "a.mkv", images, codec="ffv1", pixels="bgr0"))
    assert len(made.frames) == 4 and made.face.valid.all()


@pytest.mark.parametrize("words", [("-vf", "hue=s=0"), ("-vf", "vflip"), ("-vf", "hflip")], ids=lambda words: words[1])
def test_grey_upside_down_and_mirrored_faces_are_followed(tmp_path, prepare, plain, words):
    converted(*words)(plain, tmp_path / "a.mp4")
    assert prepare(tmp_path / "a.mp4").face.valid.mean() > 0.9


def test_a_picture_is_a_clip_of_one_frame(tmp_path, prepare, plain):
    run_ffmpeg("-i", plain, "-frames:v", "1", tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.mp4")
    assert len(prepare(tmp_path / "a.mp4").frames) == 1


# Sound


@pytest.mark.parametrize(
    ("sound", "start", "beep"),
    [
        (click(3.0, 0.5), 0, 0.5),
        (click(0.6, 0.5), 0, 0.5),
        (click(0.8, 0.1), Fraction(3, 10), 0.4),
        (np.zeros(38400, np.float32), 0, None),
        (click(0.5, 0.1), 5, None),
        (None, 0, None),
    ],
    ids=["longer", "shorter", "later", "silent", "after the picture", "none"],
)
def test_sound_is_as_long_as_the_picture_whatever_it_was(tmp_path, prepare, sound, start, beep):
    made = prepare(write_clip(tmp_path / "a.mp4", nodding(), sound=sound, sound_start=Fraction(start)))
    assert len(made.sound) == FRAMES * 640
    assert (onset(made.sound, 16000) == pytest.approx(beep, abs=0.004)) if beep else not made.sound.any()


def test_sound_that_is_no_number_is_refused(tmp_path, prepare, plain):
    samples = np.zeros(12800, "<f4")
    samples[6400] = np.nan
    (tmp_path / "nan.raw").write_bytes(samples.tobytes())
    raw = ("-f", "f32le", "-ar", "16000", "-ac", "1", "-i", tmp_path / "nan.raw")
    run_ffmpeg("-i", plain, *raw, "-map", "0:v", "-map", "1:a", "-c", "copy", tmp_path / "a.mov")
    with pytest.raises(InputError, match=r"a\.mov: the sound is not a finite number at 0\.400 s; export"):
        prepare(tmp_path / "a.mov")


def test_an_mp3_named_wav_is_read_as_what_it_is(tmp_path, plain):
    run_ffmpeg("-i", plain, "-vn", "-f", "mp3", tmp_path / "a.wav")
    assert onset(read_sound(tmp_path / "a.wav", 16000), 16000) == pytest.approx(BEEP, abs=0.03)


# Faces


def hidden(count: int, frames: slice, by: np.ndarray = GREY) -> np.ndarray:
    images = nodding(count)
    images[frames] = by
    return images


@pytest.mark.parametrize("by", [GREY, np.zeros_like(GREY)], ids=["wall", "black"])
@pytest.mark.parametrize("lost", [slice(12, 15), slice(11, 31)], ids=["3 frames", "2 s"])
def test_a_face_that_is_lost_for_a_while_is_bridged_and_marked(tmp_path, prepare, lost, by):
    made = prepare(write_clip(tmp_path / "a.mp4", hidden(50, lost, by), rate=10))
    assert np.flatnonzero(~made.face.valid).tolist() == list(range(50))[lost]
    x = made.face.position[:, 0]
    line = np.interp(range(lost.start, lost.stop), [lost.start - 1, lost.stop], x[[lost.start - 1, lost.stop]])
    assert np.allclose(x[lost], line, atol=0.02)


def test_of_two_faces_the_larger_one_is_followed_throughout(tmp_path, prepare):
    small = np.stack([cv2.resize(image, (128, 128), interpolation=cv2.INTER_AREA) for image in nodding()])
    images = np.full((FRAMES, 256, 448, 3), 110, np.uint8)
    images[:, 64:192, :128], images[:, :, 192:] = small, nodding()
    images[8:12, :, 192:] = 110  # where it is hidden, nobody takes its place
    made = prepare(write_clip(tmp_path / "a.mp4", images))
    assert np.flatnonzero(~made.face.valid).tolist() == [8, 9, 10, 11]


def test_a_face_that_leaves_the_picture_is_marked(tmp_path, prepare):
    images = np.full((40, 256, 384, 3), 110, np.uint8)
    for image, left, head in zip(images, np.maximum(0, np.arange(40) - 25) * 32, nodding(40), strict=True):
        image[:, left : left + 256] = head[:, : max(0, 384 - left)]
    made = prepare(write_clip(tmp_path / "a.mp4", images))
    assert made.face.valid[:27].all() and not made.face.valid[37:].any()


def scene(brightness: int) -> np.ndarray:
    images = np.full((FRAMES, 256, 512, 3), brightness, np.uint8)
    images[:, :, 128:384] = nodding()
    return images


REFUSED = {  # name -> (pictures, what is said)
    "no face": (np.repeat(GREY[None], FRAMES, 0), r"frame 0 \(0\.00 s\) shows no face, as 4 of the 4 .*; cut"),
    "a face in less than half of it": (
        hidden(40, slice(15, 40)),
        r"frame 15 \(0\.60 s\) shows no face, as 5 of the 8 .*; cut",
    ),
    "a face of 20 px": (
        np.pad(
            np.stack([cv2.resize(image, (40, 40), interpolation=cv2.INTER_AREA) for image in nodding()]),
            ((0, 0), (100, 100), (200, 200), (0, 0)),
        ),
        r"frame 0 .* shows no face, .* record with the head larger in the picture",
    ),
    "a cut": (
        np.concatenate([scene(20), scene(200)]),
        r"frame 20 \(0\.80 s\) cuts to another scene; cut the clip there",
    ),
    "a cut after black": (
        np.concatenate([scene(20), np.zeros_like(scene(0)), scene(200)]),
        r"frame 40 \(1\.60 s\) cuts to another scene",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_clip_that_does_not_show_one_face_is_refused(tmp_path, prepare, name):
    images, said = REFUSED[name]
    with pytest.raises(InputError, match=rf"a\.mp4: {said}"):
        prepare(write_clip(tmp_path / "a.mp4", images))


def test_a_flash_is_no_cut(tmp_path, prepare):
    images = scene(60)
    images[10] = np.minimum(images[10], 155) + 100
    assert len(prepare(write_clip(tmp_path / "a.mp4", images)).frames) == FRAMES


# Clocks and sizes


JOINED = {"mpegts_flags": "initial_discontinuity"}


@pytest.mark.parametrize("later", [-1, 100], ids=["backwards", "far ahead"])
def test_a_clock_that_jumps_is_refused(tmp_path, prepare, later):
    parts = [
        write_clip(
            tmp_path / f"{begin}.ts", nodding(10), times=[begin + Fraction(n, 25) for n in range(10)], options=JOINED
        )
        for begin in (2, 2 + later)
    ]
    (tmp_path / "a.ts").write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    with pytest.raises(InputError, match=r"a\.ts: at frame 10 the clock jumps from .* s to .* s; cut the clip there"):
        prepare(tmp_path / "a.ts")


def test_a_picture_that_changes_its_size_is_refused(tmp_path, prepare):
    parts = [write_clip(tmp_path / f"{size}.ts", nodding(10)[:, :size, :size], options=JOINED) for size in (256, 192)]
    (tmp_path / "a.ts").write_bytes(parts[0].read_bytes() + parts[1].read_bytes())
    with pytest.raises(InputError, match=r"a\.ts: frame 10 .* changes the picture's size; convert the clip"):
        prepare(tmp_path / "a.ts")


# Names, at the start of the workflow


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> Project:
    folder = tmp_path_factory.mktemp("project")
    copy_project(folder)
    (folder / "data/videos").mkdir(parents=True)
    return Project(folder, "tests/tiny.yaml")


@pytest.mark.parametrize(
    "name",
    ["a b", "it's \";$(touch hacked)", "ümlaut", "a\nb", "x" * 30, "".join(map(str, range(10, 41))), "a_offline"],
)
def test_a_name_that_could_be_read_as_something_else_is_refused(project, name):
    path = project.folder / "data/videos" / f"{name}.mp4"
    path.touch()
    done = project.snakemake("-n", "--", f"results/{name}_self.mp4")
    path.unlink()
    said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line or "Traceback" in line]
    assert done.returncode == 1 and len(said) == 1
    assert said[0].startswith(f"error: {str(path.relative_to(project.folder))!r}: rename it")
    assert not (project.folder / "hacked").exists()


def test_a_file_with_such_a_name_stops_nobody_else_and_is_told(project, plain):
    videos = project.folder / "data/videos"
    (videos / "a b.mp4").touch()
    (videos / "good.mp4").write_bytes(plain.read_bytes())
    done = project.snakemake("--", "work/clips/good/frames.h5")
    for path in videos.iterdir():
        path.unlink()
    assert done.returncode == 0 and "Left out: 'data/videos/a b.mp4': rename it" in done.stdout, (
        done.stdout + done.stderr
    )


@pytest.mark.parametrize("name", ["-x..y", "".join(map(str, range(10, 40)))])
def test_other_names_are_names(project, plain, name):
    path = project.folder / "data/videos" / f"{name}.mp4"
    path.write_bytes(plain.read_bytes())
    done = project.snakemake("--", f"work/clips/{name}/frames.h5")
    path.unlink()
    assert done.returncode == 0 and (project.folder / f"work/clips/{name}/frames.h5").exists(), (
        done.stdout + done.stderr
    )
