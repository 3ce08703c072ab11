import json
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media import VideoWriter, digests, probe, read_frames, read_record, read_sound, write_aac, write_sound
from tests.clips import SOUND_RATE, bad_files, click, onset, pictures, run_ffmpeg, turn, write_clip
from tests.disk_for_tests import as_nobody, little_room

COLOURS = np.array([[200, 30, 40], [30, 180, 60], [40, 60, 200], [240, 240, 240], [16, 16, 16], [220, 180, 150]])


def coloured(count: int) -> np.ndarray:
    """(count, 64, 192, 3): six patches of colour side by side."""
    row = np.repeat(COLOURS, 32, axis=0).astype(np.uint8)
    return np.broadcast_to(row, (count, 64, 192, 3)).copy()


def write(path: Path, images: np.ndarray, *, fps=Fraction(25), sound=None, **options) -> Path:
    height, width = images.shape[1:3]
    with VideoWriter(
        path, size=(width, height), fps=fps, sound=sound, quality=10, comment="synthetic", **options
    ) as video:
        for start in range(0, len(images), 4):
            video.write(images[start : start + 4])
    return path


def noisy(count: int) -> np.ndarray:
    """(count, 64, 64, 3) uint8: every frame needs many bytes."""
    return np.random.default_rng(0).integers(0, 255, (count, 64, 64, 3), dtype=np.uint8)


def images_of(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in read_frames(path)])


# Reading pictures


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_turned_video_is_read_upright(tmp_path, degrees):
    plain = write_clip(tmp_path / "plain.mp4", pictures(3))
    turned = turn(plain, tmp_path / "turned.mp4", degrees)
    np.testing.assert_array_equal(images_of(turned), np.rot90(images_of(plain), degrees // 90, axes=(1, 2)))


@pytest.mark.parametrize("options", ["-display_hflip", "-display_vflip", "-display_rotation 90 -display_hflip"])
def test_a_mirrored_video_is_read_as_players_show_it(tmp_path, options):
    plain = write_clip(tmp_path / "plain.mp4", pictures(3))
    mirrored, shown = tmp_path / "mirrored.mp4", tmp_path / "shown.mkv"
    run_ffmpeg(*options.split(), "-i", plain, "-c", "copy", mirrored)
    run_ffmpeg("-i", mirrored, "-c:v", "ffv1", shown)  # ffmpeg turns and mirrors as it converts
    assert np.abs(images_of(mirrored).astype(int) - images_of(shown)).mean() < 0.5


def test_two_moments_in_one_picture_are_not_mixed(tmp_path):
    """Interlaced: the even lines show a later picture than the odd ones."""
    woven = pictures(4, 64, 64)
    woven[:, 1::2] = pictures(5, 64, 64)[1:, 1::2]
    plain = write_clip(tmp_path / "plain.mkv", woven, codec="ffv1", pixels="bgr0")
    coded = ("-c:v", "mpeg2video", "-q:v", "2", "-flags", "+ilme+ildct")
    run_ffmpeg("-i", plain, "-vf", "setfield=tff", *coded, tmp_path / "a.mpg")
    read = images_of(tmp_path / "a.mpg").astype(int)
    assert np.abs(read - pictures(4, 64, 64)).mean() < 0.5 * np.abs(read - woven).mean()


def test_pixels_that_are_not_square_are_stretched(tmp_path):
    clip = write_clip(tmp_path / "wide.mp4", pictures(2, width=60, height=64), aspect=Fraction(16, 15))
    assert images_of(clip).shape == (2, 64, 64, 3)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("a.mp4", "libx264", "yuv420p10le"),
        ("a.mp4", "libx264", "yuvj420p"),
        ("a.avi", "mjpeg", "yuvj444p"),
        ("a.mkv", "ffv1", "gray"),
    ],
)
def test_ten_bits_full_range_and_grey_are_read(tmp_path, name, codec, pixels):
    drawn = pictures(2)
    if pixels == "gray":
        drawn = np.repeat(drawn[..., :1], 3, axis=-1)
    clip = write_clip(tmp_path / name, drawn, codec=codec, pixels=pixels)
    assert np.abs(images_of(clip).astype(int) - drawn).mean() < 3


def test_odd_sizes_are_read_whole(tmp_path):
    clip = write_clip(tmp_path / "odd.mkv", pictures(2, width=63, height=47), codec="ffv1", pixels="bgr0")
    np.testing.assert_array_equal(images_of(clip), pictures(2, width=63, height=47))


def test_times_are_those_of_the_stream(tmp_path):
    times = [Fraction(n, 90000) for n in (7200, 10203, 13206, 25000)]
    clip = write_clip(tmp_path / "varying.mp4", pictures(4), times=times)
    assert [frame.time for frame in read_frames(clip)] == pytest.approx([float(time) for time in times], abs=1e-9)


def test_the_rate_of_ntsc_film_is_exact(tmp_path):
    clip = write_clip(tmp_path / "film.mp4", pictures(5), rate=Fraction(24000, 1001))
    assert probe(clip).rates[0] == Fraction(24000, 1001)


# Reading sound


@pytest.mark.parametrize("rate", [16000, 44100])
def test_sound_begins_with_the_picture(tmp_path, rate):
    """The picture begins at 0.2 s, the sound 0.1 s before or after it."""
    times = [Fraction(1, 5) + Fraction(n, 25) for n in range(25)]
    for start in (Fraction(1, 10), Fraction(3, 10)):
        clip = write_clip(tmp_path / "clip.mp4", pictures(25), times=times, sound=click(0.9, 0.4), sound_start=start)
        sound = read_sound(clip, rate)
        assert onset(sound, rate) == pytest.approx(float(start) + 0.4 - 0.2, abs=0.005)


def test_a_gap_in_the_sound_stays_a_gap(tmp_path):
    path = tmp_path / "gap.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=SOUND_RATE, layout="mono")
        for start, at in ((0, 0.1), (SOUND_RATE, 0.2)):
            piece = (click(0.4, at)[None] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
            frame.sample_rate, frame.time_base, frame.pts = SOUND_RATE, Fraction(1, SOUND_RATE), start
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    sound = read_sound(path, 16000)
    assert len(sound) == pytest.approx(1.4 * 16000, abs=32)
    assert onset(sound, 16000) == pytest.approx(0.1, abs=0.002)
    assert onset(sound[8000:], 16000) + 0.5 == pytest.approx(1.2, abs=0.002)


def test_stereo_is_averaged_at_the_same_level(tmp_path):
    tone = (0.5 * np.sin(np.arange(16000) / 5) * 32767).astype("<i2")
    with wave.open(str(tmp_path / "stereo.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(np.stack([tone, tone], 1).tobytes())
    np.testing.assert_allclose(read_sound(tmp_path / "stereo.wav", 16000), tone / 32768, atol=1e-3)


def test_written_sound_is_read_back(tmp_path):
    sound = np.random.default_rng(0).uniform(-1, 1, 5000)
    write_sound(tmp_path / "sound.wav", sound, 16000)
    np.testing.assert_allclose(read_sound(tmp_path / "sound.wav", 16000), sound, atol=1e-4)


def test_sound_that_is_no_number_is_refused_with_its_time(tmp_path):
    samples = np.zeros((1, 16000), np.float32)
    samples[0, 8000] = np.nan
    path = tmp_path / "nan.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(InputError, match=r"nan\.wav: .*not a finite number at 0\.500 s"):
        read_sound(path, 16000)


# Files that cannot be used


@pytest.fixture
def bad(tmp_path) -> dict[str, Path]:
    return bad_files(tmp_path)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("folder", "is a folder"),
        ("empty", "is empty"),
        ("text", "neither video nor sound"),
        ("truncated", "cut off before its index"),
        ("audio", "has no picture"),
        ("list", "is a list of other files"),
        ("unknown", "its picture is in a format that ffmpeg does not know"),
    ],
)
def test_a_file_that_is_no_video_is_named_in_one_line(bad, kind, says):
    with pytest.raises(InputError) as error:
        list(read_frames(bad[kind]))
    assert str(bad[kind]) in str(error.value)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_video_that_breaks_off_names_the_frame(tmp_path):
    whole = write(tmp_path / "whole.mp4", np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8))
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])  # the index is at the beginning
    read = 0
    with pytest.raises(InputError) as error:
        for _ in read_frames(cut):
            read += 1
    assert 0 < read < 40
    assert f"{cut}: breaks off at frame {read}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mkv", "libx264"), ("a.webm", "libvpx-vp9"), ("a.avi", "mjpeg"), ("a.mp4", "libx264")]
)
@pytest.mark.parametrize("part", [0.4, 0.85])
def test_a_file_that_ends_before_the_time_it_states_is_refused(tmp_path, name, codec, part):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    whole = write_clip(tmp_path / name, noisy(50), codec=codec, pixels=pixels, options={"movflags": "+faststart"})
    whole.write_bytes(whole.read_bytes()[: int(part * whole.stat().st_size)])
    with pytest.raises(InputError, match=rf"{name}: breaks off at frame \d+, after \d\.\d+ s .*; copy the file again"):
        list(read_frames(whole))


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.wav", "a.mp3", "a.flac"])
def test_sound_that_ends_before_the_time_it_states_is_refused(tmp_path, name):
    write_sound(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-1, 1, 32000), 16000)
    run_ffmpeg("-i", tmp_path / "noise.wav", "-movflags", "+faststart", tmp_path / name)
    clip = tmp_path / name
    assert len(read_sound(clip, 16000)) == pytest.approx(32000, abs=1200)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: its sound breaks off after [01]\.\d+ s: .*; copy the file again"):
        read_sound(clip, 16000)


def test_a_wav_file_of_unknown_length_is_read_to_its_end(tmp_path):
    write_sound(tmp_path / "a.wav", np.full(16000, 0.5), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_sound(tmp_path / "a.wav", 16000)) == 16000


@pytest.mark.parametrize("name", ["a.mp4", "a.ts"])
def test_damage_in_the_middle_is_refused_and_not_patched_up(tmp_path, name):
    clip = write_clip(tmp_path / name, noisy(50))
    content = bytearray(clip.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 400] = np.random.default_rng(1).bytes(400)
    clip.write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: breaks off at frame \d+, after"):
        list(read_frames(clip))


def test_a_recording_that_begins_between_key_frames_is_read_from_the_first_one_on(tmp_path):
    clip = write_clip(tmp_path / "a.ts", noisy(60), options={"g": "20", "bf": "0", "sc_threshold": "0"})
    content = clip.read_bytes()
    clip.write_bytes(content[len(content) // 2 // 188 * 188 :])
    assert len(images_of(clip)) == 20


@pytest.mark.parametrize("aspect", [Fraction(20), Fraction(1, 20)])
def test_pixels_of_an_absurd_shape_are_refused(tmp_path, aspect):
    clip = write_clip(tmp_path / "a.mkv", pictures(2), aspect=aspect)
    with pytest.raises(InputError, match=r"a\.mkv: says that its pixels are .* times as wide as high"):
        list(read_frames(clip))


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sound(Path("so:und.wav"), click(0.12, 0.05, 16000), 16000)
    assert len(images_of(write(Path("a:b.mp4"), pictures(3), sound=Path("so:und.wav")))) == 3


def test_a_clip_without_sound_is_refused_where_sound_is_needed(tmp_path):
    clip = write_clip(tmp_path / "mute.mp4", pictures(2))
    assert not probe(clip).sound
    with pytest.raises(InputError, match=r"mute\.mp4: has no sound"):
        read_sound(clip, 16000)


# Writing


def test_colours_survive_writing_and_reading(tmp_path):
    clip = write(tmp_path / "colours.mp4", coloured(3))
    patches = images_of(clip)[1].reshape(64, 6, 32, 3)[16:48, :, 8:24]
    assert np.abs(patches.mean((0, 2)) - COLOURS).max() < 4


def test_written_video_says_which_colours_it_has_and_that_it_is_synthetic(tmp_path):
    with av.open(str(write(tmp_path / "tags.mp4", coloured(2)))) as container:
        assert container.metadata["comment"] == "synthetic"
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_primaries, frame.color_trc) == (1, 1, 1)  # BT.709
    assert frame.color_range == 1  # 16 to 235


def test_written_times_are_exact(tmp_path):
    clip = write(tmp_path / "ntsc.mp4", pictures(31), fps=Fraction(30000, 1001))
    assert probe(clip).rates[0] == Fraction(30000, 1001)
    assert [frame.time for frame in read_frames(clip)] == pytest.approx(np.arange(31) * 1001 / 30000, abs=1e-9)


@pytest.mark.parametrize("apart", [-0.9, 0.0, 0.9])
@pytest.mark.parametrize(("fps", "count"), [(Fraction(25), 51), (Fraction(30000, 1001), 47), (Fraction(60), 61)])
def test_sound_that_is_a_part_of_a_frame_shorter_or_longer_ends_with_the_picture(tmp_path, fps, count, apart):
    write_sound(tmp_path / "sound.wav", click((count + apart) / fps, 0.3, 16000), 16000)
    clip = write(tmp_path / "clip.mp4", pictures(count), fps=fps, sound=tmp_path / "sound.wav")
    with av.open(str(clip)) as container:
        ends = [float(stream.duration * stream.time_base) for stream in container.streams]
    assert abs(ends[0] - count / fps) < 1e-3
    assert abs(ends[1] - ends[0]) < 1e-3
    assert onset(read_sound(clip, 16000), 16000) == pytest.approx(0.3, abs=0.003)


@pytest.mark.parametrize("duration", [1.9, 2.1])
def test_sound_of_another_length_is_refused_and_leaves_nothing(tmp_path, duration):
    sound = tmp_path / "sound.wav"
    write_sound(sound, click(duration, 0.3, 16000), 16000)
    with pytest.raises(InputError, match=rf"sound\.wav: {duration}0 s of sound .* for a picture of 2\.00 s"):
        write(tmp_path / "clip.mp4", pictures(50), sound=sound)
    assert list(tmp_path.iterdir()) == [sound]


def test_sound_can_be_taken_from_its_middle(tmp_path):
    write_sound(tmp_path / "sound.wav", click(2.2, 1.5, 16000), 16000)
    clip = write(tmp_path / "clip.mp4", pictures(25), sound=tmp_path / "sound.wav", sound_start=Fraction(6, 5))
    assert onset(read_sound(clip, 16000), 16000) == pytest.approx(0.3, abs=0.003)


def test_nothing_is_left_of_a_video_that_was_not_finished(tmp_path):
    plain = {"size": 64, "fps": Fraction(25), "sound": None, "quality": 20, "comment": ""}
    with pytest.raises(KeyError), VideoWriter(tmp_path / "a.mp4", **plain) as video:
        video.write(pictures(3, 64, 64))
        raise KeyError
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "a.mp4", **plain):
        pass
    with pytest.raises(InputError, match="nothing: no such file"):
        write(tmp_path / "a.mp4", pictures(3), sound=tmp_path / "nothing")
    with pytest.raises(InputError, match="even"):
        write(tmp_path / "a.mp4", pictures(3, 63, 64))
    assert list(tmp_path.iterdir()) == []


def test_a_video_on_a_full_disk_is_one_line_and_leaves_nothing(tmp_path):
    plain = {"size": 64, "fps": Fraction(25), "sound": None, "quality": 0, "comment": ""}
    said = pytest.raises(InputError, match=r"a\.mp4: cannot be written: ")
    with little_room(), said, VideoWriter(tmp_path / "a.mp4", **plain) as video:
        for _ in range(20):
            video.write(noisy(20))
    assert list(tmp_path.iterdir()) == []


def test_a_video_in_a_sealed_folder_is_one_line(tmp_path):
    (tmp_path / "sealed").mkdir(mode=0o500)
    plain = {"size": 64, "fps": Fraction(25), "sound": None, "quality": 0, "comment": ""}
    with as_nobody(), pytest.raises(InputError, match=r"a\.mp4: cannot be written \(Permission denied\)"):
        VideoWriter(tmp_path / "sealed/a.mp4", **plain)


def test_what_ffmpeg_complains_of_reaches_the_reader(tmp_path):
    wrong = {"size": 64, "fps": Fraction(25), "sound": None, "quality": -99, "comment": ""}
    with (
        pytest.raises(InputError, match=r"a\.mp4: cannot be written: .*crf"),
        VideoWriter(tmp_path / "a.mp4", **wrong) as video,
    ):
        for _ in range(200):
            video.write(pictures(20, 64, 64))
    assert list(tmp_path.iterdir()) == []


# What a file says of itself


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_sound(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    return write(folder / "a.mp4", pictures(25), sound=folder / "a.wav")


def test_a_file_holds_the_digests_of_what_is_in_it(original):
    assert json.loads(read_record(original)) == {"streams": digests(original)}
    assert set(digests(original)) == {"picture", "sound"}


def test_a_file_without_sound_claims_none(tmp_path):
    clip = write(tmp_path / "a.mp4", pictures(3), record={"by": 'a test; it\'s 50 % = \\ "so"'})
    assert json.loads(read_record(clip)) == {"by": 'a test; it\'s 50 % = \\ "so"', "streams": digests(clip)}
    assert set(digests(clip)) == {"picture"}


KEEP = ("-c", "copy")
EDITS = {  # what is done: ffmpeg's words before and after the file, and what it changes
    "encoded anew": ((), ("-c:a", "copy"), {"picture"}),
    "sound encoded anew": ((), ("-c:v", "copy"), {"sound"}),
    "trimmed at its end": ((), ("-t", "0.8", *KEEP), {"picture", "sound"}),
    "trimmed at its beginning": (("-ss", "0.4"), KEEP, {"picture", "sound"}),
    "slowed down": (("-itsscale", "2"), KEEP, {"picture", "sound"}),
    "mirrored": (("-display_hflip",), KEEP, {"picture"}),
    "stretched": ((), ("-aspect", "2:1", *KEEP), {"picture"}),
    "muted": ((), ("-an", *KEEP), {"sound"}),
    "given a second sound": ((), ("-map", "0", "-map", "0:a", *KEEP), {"sound"}),
    "given another title": ((), ("-metadata", "title=Holiday", *KEEP), set()),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_digests_tell_an_edited_video_from_the_original(original, tmp_path, edit):
    before, after, changed = EDITS[edit]
    edited = tmp_path / "edited.mp4"
    run_ffmpeg(*before, "-i", original, *after, edited)
    assert {name for name, digest in digests(original).items() if digests(edited).get(name) != digest} == changed


def test_the_digests_tell_a_single_changed_byte(original, tmp_path):
    content = bytearray(original.read_bytes())
    content[content.index(b"mdat") + 2000] ^= 1
    (tmp_path / "edited.mp4").write_bytes(content)
    assert digests(tmp_path / "edited.mp4") != digests(original)


def test_sound_for_a_browser_is_as_long_as_asked_and_keeps_its_time(tmp_path):
    write_sound(tmp_path / "voice.wav", click(3.0, 1.0, 16000), 16000)
    write_aac(tmp_path / "voice.m4a", tmp_path / "voice.wav", 2.0)
    heard = read_sound(tmp_path / "voice.m4a", 16000)
    assert abs(len(heard) / 16000 - 2) < 0.1 and abs(onset(heard, 16000) - 1) < 0.05
