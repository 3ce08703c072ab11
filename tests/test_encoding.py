import os
from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.encoding import VideoWriter, write_aac
from pipeline.errors import InputError
from pipeline.media import probe, read_frames
from pipeline.sound import read_sound, write_sound
from tests.clips import click, encode, images_of, noisy, onset, pictures
from tests.disk_for_tests import as_nobody, little_room

COLOURS = np.array([[200, 30, 40], [30, 180, 60], [40, 60, 200], [240, 240, 240], [16, 16, 16], [220, 180, 150]])


def coloured(count: int) -> np.ndarray:
    """(count, 64, 192, 3): six patches of colour side by side."""
    row = np.repeat(COLOURS, 32, axis=0).astype(np.uint8)
    return np.broadcast_to(row, (count, 64, 192, 3)).copy()


def test_colours_survive_writing_and_reading(tmp_path):
    clip = encode(tmp_path / "colours.mp4", coloured(3))
    patches = images_of(clip)[1].reshape(64, 6, 32, 3)[16:48, :, 8:24]
    assert np.abs(patches.mean((0, 2)) - COLOURS).max() < 4


def test_written_video_says_which_colours_it_has_and_that_it_is_synthetic(tmp_path):
    with av.open(str(encode(tmp_path / "tags.mp4", coloured(2)))) as container:
        assert container.metadata["comment"] == "synthetic"
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)  # BT.709
    assert frame.color_range == 1  # 16 to 235


def test_written_times_are_exact(tmp_path):
    clip = encode(tmp_path / "ntsc.mp4", pictures(31), fps=Fraction(30000, 1001))
    assert probe(clip).rates[0] == Fraction(30000, 1001)
    assert [frame.time for frame in read_frames(clip)] == pytest.approx(np.arange(31) * 1001 / 30000, abs=1e-9)


@pytest.mark.parametrize("apart", [-0.9, 0.0, 0.9])
@pytest.mark.parametrize(("fps", "count"), [(Fraction(25), 51), (Fraction(30000, 1001), 47), (Fraction(60), 61)])
def test_sound_that_is_a_part_of_a_frame_shorter_or_longer_ends_with_the_picture(tmp_path, fps, count, apart):
    write_sound(tmp_path / "sound.wav", click((count + apart) / fps, 0.3, 16000), 16000)
    clip = encode(tmp_path / "clip.mp4", pictures(count), fps=fps, sound=tmp_path / "sound.wav")
    with av.open(str(clip)) as container:
        ends = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert abs(ends[0] - count / fps) < 1e-3
    assert abs(ends[1] - ends[0]) < 1e-3
    assert onset(read_sound(clip, 16000), 16000) == pytest.approx(0.3, abs=0.003)


@pytest.mark.parametrize("duration", [1.9, 2.1])
def test_sound_of_another_length_is_refused_before_the_first_frame_and_leaves_nothing(tmp_path, duration):
    sound = tmp_path / "sound.wav"
    write_sound(sound, click(duration, 0.3, 16000), 16000)
    with pytest.raises(InputError, match=rf"sound\.wav: {duration}0 s of sound .* for a picture of 2\.00 s"):
        VideoWriter(
            tmp_path / "clip.mp4", size=64, fps=Fraction(25), frames=50, sound=sound, quality=20, comment="synthetic"
        )
    assert list(tmp_path.iterdir()) == [sound]


def test_sound_can_be_taken_from_its_middle(tmp_path):
    write_sound(tmp_path / "sound.wav", click(2.2, 1.5, 16000), 16000)
    clip = encode(tmp_path / "clip.mp4", pictures(25), sound=tmp_path / "sound.wav", sound_start=Fraction(6, 5))
    assert onset(read_sound(clip, 16000), 16000) == pytest.approx(0.3, abs=0.003)


def test_nothing_is_left_of_a_video_that_was_not_finished(tmp_path):
    plain = {"size": 64, "fps": Fraction(25), "frames": 4, "sound": None, "quality": 20, "comment": ""}
    with pytest.raises(KeyError), VideoWriter(tmp_path / "a.mp4", **plain) as video:
        video.write(pictures(3, 64, 64))
        raise KeyError
    for count in (0, 3, 5):
        said = pytest.raises(InputError, match=rf"a\.mp4: not written: {count} frames came, 4 were due")
        with said, VideoWriter(tmp_path / "a.mp4", **plain) as video:
            video.write(pictures(count, 64, 64))
    with pytest.raises(InputError, match="nothing: no such file"):
        encode(tmp_path / "a.mp4", pictures(3), sound=tmp_path / "nothing")
    with pytest.raises(InputError, match="even"):
        encode(tmp_path / "a.mp4", pictures(3, 63, 64))
    assert list(tmp_path.iterdir()) == []


def test_a_video_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    plain = {"size": 64, "fps": Fraction(25), "frames": 400, "sound": None, "quality": 0, "comment": ""}
    said = pytest.raises(InputError, match=r"a\.mp4: cannot be written: ")
    with little_room(), said, VideoWriter(tmp_path / "a.mp4", **plain) as video:
        for _ in range(20):
            video.write(noisy(20))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o500, 0o555])
def test_a_video_in_a_sealed_folder_is_one_line(tmp_path, mode):
    (tmp_path / "sealed").mkdir(mode=mode)
    plain = {"size": 64, "fps": Fraction(25), "frames": 400, "sound": None, "quality": 0, "comment": ""}
    with as_nobody(), pytest.raises(InputError, match=r"a\.mp4: cannot be written \(Permission denied\)"):
        VideoWriter(tmp_path / "sealed/a.mp4", **plain)


def test_what_a_killed_writer_left_goes_an_hour_later(tmp_path):
    write_sound(tmp_path / "sound.wav", click(2, 0.3, 16000), 16000)
    about = {"fps": Fraction(25), "frames": 50, "sound": tmp_path / "sound.wav", "quality": 20, "comment": ""}
    killed = VideoWriter(tmp_path / "a.mp4", size=64, **about)
    killed._process.kill()
    left = list(tmp_path.glob(".*"))
    for path in left:
        os.utime(path, (0, 0))
    encode(tmp_path / "a.mp4", pictures(50), sound=tmp_path / "sound.wav")
    assert len(left) == 2
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.mp4", tmp_path / "sound.wav"]


def test_what_ffmpeg_complains_of_reaches_the_reader(tmp_path):
    wrong = {"size": 64, "fps": Fraction(25), "frames": 4000, "sound": None, "quality": -99, "comment": ""}
    with (
        pytest.raises(InputError, match=r"a\.mp4: cannot be written: .*crf"),
        VideoWriter(tmp_path / "a.mp4", **wrong) as video,
    ):
        for _ in range(200):
            video.write(pictures(20, 64, 64))
    assert list(tmp_path.iterdir()) == []


def test_sound_for_a_browser_is_as_long_as_asked_and_keeps_its_time(tmp_path):
    write_sound(tmp_path / "voice.wav", click(3.0, 1.0, 16000), 16000)
    write_aac(tmp_path / "voice.m4a", tmp_path / "voice.wav", 2.0)
    heard = read_sound(tmp_path / "voice.m4a", 16000)
    assert abs(len(heard) / 16000 - 2) < 0.1 and abs(onset(heard, 16000) - 1) < 0.05
