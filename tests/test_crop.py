from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from pipeline import crop
from pipeline.encoding import VideoWriter
from pipeline.errors import InputError
from pipeline.media import read_frames
from pipeline.sound import read_sound
from pipeline.stores import open_frames
from tests.clips import bad_files, click, onset, pictures, write_clip
from tests.disk_for_tests import little_room

WIDTH, HEIGHT, HEAD = 320, 192, 112  # px


def head_at(lefts: np.ndarray, top: int = 40) -> np.ndarray:
    """(n, HEIGHT, WIDTH, 3) uint8: a head in a square of HEAD px, its left edge at `lefts`, before a striped wall."""
    head = cv2.resize(astronaut()[:256, 96:352], (HEAD, HEAD), interpolation=cv2.INTER_AREA)
    wall = np.broadcast_to(90 + 30 * (np.arange(WIDTH) // 16 % 2), (HEIGHT, WIDTH)).astype(np.uint8)
    images = np.repeat(wall[None, :, :, None], len(lefts), 0).repeat(3, -1)
    for image, left in zip(images, lefts, strict=True):
        image[top : top + HEAD, left : left + HEAD] = head
    return images


def swaying(count: int) -> np.ndarray:
    """The head goes to and fro, 3 px a frame."""
    return head_at(180 + np.abs(3 * np.arange(count) % 40 - 20))


def run(video: Path, folder: Path, weights, **changes) -> tuple[Path, Path]:
    out, audio = folder / "frames.h5", folder / "audio.wav"
    values = {
        "tracker": "mediapipe",
        "size": 96,
        "margin": 1.1,
        "stride": 3,
        "min_found": 0.9,
        "repetition": 0.25,
        "device": "cpu",
    } | changes
    crop.main(video=video, networks=weights[0].parent, out=out, audio=audio, **values)
    return out, audio


def test_crop_follows_the_face(tmp_path, face_mesh_weights):
    images = swaying(12)
    clip = write_clip(tmp_path / "clip.mp4", images)
    out, _ = run(clip, tmp_path, face_mesh_weights)
    with open_frames(out) as store:
        left, top, side = map(int, store.box)
        assert (store.fps, len(store), store.size, store.source) == (25, 12, 96, "clip.mp4")
        stored = store.frames[:]
    assert side < HEIGHT
    assert left > 130  # the head is on the right...
    assert left + side > 200 + HEAD - 30  # ...and none of the face is cut off
    expected = [
        cv2.resize(i[top : top + side, left : left + side], (96, 96), interpolation=cv2.INTER_AREA) for i in images
    ]
    assert np.abs(stored.astype(int) - expected).mean() < 4


def test_faces_of_a_large_picture_are_where_they_are_in_a_small_one(tmp_path, face_mesh_weights):
    small = swaying(4)
    large = np.stack([cv2.resize(image, (5 * WIDTH, 5 * HEIGHT), interpolation=cv2.INTER_CUBIC) for image in small])
    boxes = []
    for name, images in (("small", small), ("large", large)):
        (tmp_path / name).mkdir()
        clip = write_clip(tmp_path / name / "clip.mp4", images)
        with open_frames(run(clip, tmp_path / name, face_mesh_weights)[0]) as store:
            boxes.append(np.array(store.box))
    np.testing.assert_allclose(boxes[1], 5 * boxes[0], atol=5 * 6)


def test_a_large_margin_takes_all_there_is_and_never_more(tmp_path, face_mesh_weights):
    out, _ = run(write_clip(tmp_path / "clip.mp4", swaying(6)), tmp_path, face_mesh_weights, margin=5.0, size=HEIGHT)
    with open_frames(out) as store:
        assert store.box == (WIDTH - HEIGHT, 0, HEIGHT)


def test_the_box_holds_every_face_and_stays_in_the_picture():
    faces = np.array([[100, 100, 40, 0], [120, 90, 40, 0], [110, 95, 40, 0.2]], float)
    left, top, side = crop.crop_box(faces, 400, 300, 1.0)
    assert left <= 81 and top <= 71 and left + side >= 139 and top + side >= 119
    assert crop.crop_box(faces - [100, 80, 0, 0], 400, 300, 1.5)[:2] == (0, 0)
    assert crop.crop_box(faces, 400, 300, 99)[1:] == (0, 300)


def test_one_wrong_box_does_not_widen_the_crop():
    faces = np.tile([100.0, 100, 40, 0], (200, 1))
    box = crop.crop_box(faces, 400, 300, 2.0)
    faces[77] = [300, 200, 150, 0]
    assert crop.crop_box(faces, 400, 300, 2.0) == box


def test_repeated_pictures_are_left_out(tmp_path, face_mesh_weights):
    """25 real pictures a second, shown in a file of 30."""
    images = swaying(50)
    shown = np.arange(60) * 25 // 30
    out, audio = run(write_clip(tmp_path / "clip.mp4", images[shown], rate=30), tmp_path, face_mesh_weights)
    with open_frames(out) as store:
        left, top, side = map(int, store.box)
        assert store.fps == 25
        assert len(store) == 50
        crops = images[:, top : top + side, left : left + side]
        expected = [cv2.resize(image, (96, 96), interpolation=cv2.INTER_AREA) for image in crops]
        assert np.abs(store.frames[:].astype(int) - expected).mean((1, 2, 3)).max() < 5
    assert len(read_sound(audio, 16000)) == 2 * 16000


def test_an_ntsc_clip_keeps_its_exact_rate(tmp_path, face_mesh_weights):
    clip = write_clip(tmp_path / "film.mp4", swaying(12), rate=Fraction(24000, 1001))
    with open_frames(run(clip, tmp_path, face_mesh_weights)[0]) as store:
        assert store.fps == Fraction(24000, 1001)
        assert len(store) == 12


def flash_and_beep(path: Path, rate: Fraction | int | None, seconds: int) -> float:
    """Write a clip whose last picture but three flashes as a beep sounds; their time from the first picture on, s.

    Without a rate, it varies between 15 and 30 frames a second.
    """
    if rate:
        times = [Fraction(1, 5) + Fraction(number) / rate for number in range(round(seconds * rate))]
    else:
        steps = np.random.default_rng(0).choice([3000, 6000], seconds * 20).tolist()
        times = [Fraction(18000 + sum(steps[:number]), 90000) for number in range(len(steps))]
    head = cv2.resize(astronaut()[:256, 96:352], (64, 64), interpolation=cv2.INTER_AREA)
    images = np.stack([np.roll(head, number % 3, axis=1) for number in range(len(times))])
    images[-4] = np.minimum(images[-4], 155) + 100
    write_clip(path, images, rate=rate or 25, times=times, sound=click(float(times[-1]) + 1, float(times[-4])))
    return float(times[-4] - times[0])


NTSC = Fraction(1000, 1001)
RATES = {10: 3, 24 * NTSC: 45, 25: 3, 30 * NTSC: 40, 50: 3, 60: 3, None: 30}  # frames/s: s


@pytest.mark.parametrize(("rate", "seconds"), RATES.items(), ids=str)
def test_flash_and_beep_stay_together_to_the_end_of_the_rendered_video(tmp_path, face_mesh_weights, rate, seconds):
    """Through crop and the writer of the result; a clock wrong by a thousandth would be a frame off here."""
    at = flash_and_beep(tmp_path / "clip.mp4", rate, seconds)
    out, audio = run(tmp_path / "clip.mp4", tmp_path, face_mesh_weights, size=64, stride=50, margin=3.0)
    with open_frames(out) as store:
        fps = store.fps
        about = {"size": 64, "fps": fps, "frames": len(store), "sound": audio, "quality": 20, "comment": ""}
        with VideoWriter(tmp_path / "a.mp4", **about) as video:
            for batch in store.batches(100)():
                video.write(batch)
    bright = np.array([frame.image.mean() for frame in read_frames(tmp_path / "a.mp4")])
    flash, beep = int(bright.argmax()) / fps, onset(read_sound(tmp_path / "a.mp4", 16000), 16000)
    assert fps == rate or rate is None
    assert bright.max() > np.median(bright) + 50
    assert abs(flash - beep) < 1 / fps
    assert abs(flash - at) < 1 / fps
    assert abs(len(read_sound(tmp_path / "a.mp4", 16000)) / 16000 - len(bright) / fps) < 1 / fps


@pytest.mark.parametrize("start", [Fraction(0), Fraction(2, 5)])
def test_sound_stays_with_the_picture(tmp_path, face_mesh_weights, start):
    """The picture begins at 0.2 s; the sound earlier or later."""
    times = [Fraction(1, 5) + Fraction(n, 25) for n in range(20)]
    clip = write_clip(tmp_path / "clip.mp4", swaying(20), times=times, sound=click(2, 0.3), sound_start=start)
    _, audio = run(clip, tmp_path, face_mesh_weights)
    sound = read_sound(audio, 16000)
    assert len(sound) == 20 * 16000 / 25
    assert onset(sound, 16000) == pytest.approx(float(start) + 0.3 - 0.2, abs=0.005)


def test_a_clip_without_sound_gets_silence_and_a_line(tmp_path, face_mesh_weights, capsys):
    _, audio = run(write_clip(tmp_path / "mute.mp4", swaying(6)), tmp_path, face_mesh_weights)
    sound = read_sound(audio, 16000)
    assert len(sound) == round(6 / 25 * 16000)
    assert not sound.any()
    assert "mute.mp4: has no sound" in capsys.readouterr().out


def test_a_clip_without_a_face_names_the_frame_and_leaves_nothing(tmp_path, face_mesh_weights):
    images = np.concatenate([swaying(6), pictures(9, WIDTH, HEIGHT)])
    clip = write_clip(tmp_path / "gone.mp4", images)
    with pytest.raises(InputError, match=r"gone\.mp4: frame 6 \(0\.24 s\) shows no face, as 3 of the 5"):
        run(clip, tmp_path, face_mesh_weights)
    assert list(tmp_path.iterdir()) == [clip]
    with open_frames(run(clip, tmp_path, face_mesh_weights, min_found=0.3)[0]) as store:
        assert len(store) == 15


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, face_mesh_weights):
    clip = write_clip(tmp_path / "clip.mp4", swaying(12), sound=click(0.48, 0.2))
    with little_room(), pytest.raises(InputError, match=r"frames\.h5: cannot be written \(File too large\); make room"):
        run(clip, tmp_path, face_mesh_weights)
    assert list(tmp_path.iterdir()) == [clip]


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "audio"])
def test_a_bad_file_leaves_nothing_behind(tmp_path, face_mesh_weights, kind):
    video = bad_files(tmp_path)[kind]
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match=video.name):
        run(video, out, face_mesh_weights)
    assert list(out.iterdir()) == []
