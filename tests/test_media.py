import json
from fractions import Fraction
from itertools import product
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media import digests, probe, read_frames, read_record
from pipeline.sound import read_sound, write_sound
from tests.clips import bad_files, click, encode, images_of, noisy, onset, pictures, run_ffmpeg, turn, write_clip

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


TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])  # BT.2087
TO_YUV = np.array([[0.2627, 0.6780, 0.0593], [-0.1396, -0.3604, 0.5], [0.5, -0.4598, -0.0402]])  # BT.2020


def pq(light: np.ndarray) -> np.ndarray:
    """cd/m2 -> PQ's signal in [0, 1] (SMPTE 2084)."""
    power = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def hlg(light: np.ndarray) -> np.ndarray:
    """cd/m2 of a screen of 1000 -> HLG's signal in [0, 1] (BT.2100)."""
    screen = light / 1000
    scene = screen * np.maximum(screen @ TO_YUV[0], 1e-9)[..., None] ** (1 / 1.2 - 1)
    bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)


@pytest.mark.parametrize(("signal", "curve", "near"), [(pq, 16, 4), (hlg, 18, 12)])
def test_hdr_has_the_colours_that_a_screen_without_it_shows(tmp_path, signal, curve, near):
    """BT.2020, white at 203 cd/m2 as in BT.2408."""
    colours = np.array([[200, 150, 120], [90, 60, 50], [250, 250, 250], [128, 128, 128], [60, 90, 160]])
    light = np.where(colours > 10, ((colours / 255 + 0.055) / 1.055) ** 2.4, colours / 255 / 12.92)
    yuv = 256 * (signal(203 * light @ TO_2020.T) @ TO_YUV.T * (219, 224, 224) + (16, 128, 128))
    patches = np.tile(np.repeat(yuv.round().astype(np.uint16), 32, 0), (32, 1, 1))
    with av.open(str(tmp_path / "hdr.mkv"), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 32 * len(colours), 32, "yuv444p16le"
        frame = av.VideoFrame.from_ndarray(patches, format=video.pix_fmt)
        about = {"colorspace": 9, "color_primaries": 9, "color_trc": curve, "color_range": 1}
        for thing, (name, value) in product((video.codec_context, frame), about.items()):
            setattr(thing, name, value)
        container.mux([*video.encode(frame), *video.encode()])
    shown = images_of(tmp_path / "hdr.mkv")[0].reshape(32, len(colours), 32, 3)[16, :, 16]
    assert np.abs(shown.astype(int) - colours).max() <= near


@pytest.mark.parametrize("extra", [(), ("-timecode", "01:00:00:00")], ids=["no more", "a clock of its own"])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["picture first", "sound first"])
def test_every_frame_is_read_whatever_stands_beside_the_picture(tmp_path, order, extra):
    plain = write_clip(tmp_path / "plain.mp4", pictures(30), sound=click(1.2, 0.6))
    maps = [word for stream in order for word in ("-map", f"0:{stream}")]
    run_ffmpeg("-i", plain, *maps, "-c", "copy", *extra, tmp_path / "a.mp4")
    np.testing.assert_array_equal(images_of(tmp_path / "a.mp4"), images_of(plain))
    assert onset(read_sound(tmp_path / "a.mp4", 16000), 16000) == pytest.approx(0.6, abs=0.003)
    assert digests(tmp_path / "a.mp4")["picture"] == digests(plain)["picture"]


def test_odd_sizes_are_read_whole(tmp_path):
    clip = write_clip(tmp_path / "odd.mkv", pictures(2, width=63, height=47), codec="ffv1", pixels="bgr0")
    np.testing.assert_array_equal(images_of(clip), pictures(2, width=63, height=47))


@pytest.mark.parametrize(("width", "height", "side"), [(64, 48, 4), (3840, 2160, 60), (30, 50, 2)])
def test_a_thumbnail_holds_the_mean_grey_of_each_part(tmp_path, width, height, side):
    """In fractions of a grey level: a repeated picture is told from a person who hardly moves."""
    clip = write_clip(tmp_path / "a.mkv", pictures(2, width, height), codec="ffv1", pixels="bgr0")
    grey = pictures(2, width, height) @ np.array([0.299, 0.587, 0.114])
    found = np.stack([frame.thumbnail(side) for frame in read_frames(clip)])
    wanted = grey.reshape(2, side, height // side, side, width // side).mean((2, 4))
    np.testing.assert_allclose(found, wanted, atol=0.1)
    assert len(np.unique(found % 1)) > 4


def test_times_are_those_of_the_stream(tmp_path):
    times = [Fraction(n, 90000) for n in (7200, 10203, 13206, 25000)]
    clip = write_clip(tmp_path / "varying.mp4", pictures(4), times=times)
    assert [frame.time for frame in read_frames(clip)] == pytest.approx([float(time) for time in times], abs=1e-9)


def test_the_rate_of_ntsc_film_is_exact(tmp_path):
    clip = write_clip(tmp_path / "film.mp4", pictures(5), rate=Fraction(24000, 1001))
    assert probe(clip).rates[0] == Fraction(24000, 1001)


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
    whole = encode(tmp_path / "whole.mp4", np.random.default_rng(0).integers(0, 255, (40, 64, 64, 3), dtype=np.uint8))
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
    assert len(images_of(encode(Path("a:b.mp4"), pictures(3), sound=Path("so:und.wav")))) == 3


# What a file says of itself


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_sound(folder / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000), 16000)
    return encode(folder / "a.mp4", pictures(25), sound=folder / "a.wav")


def test_a_file_holds_the_digests_of_what_is_in_it(original):
    assert json.loads(read_record(original)) == {"streams": digests(original)}
    assert set(digests(original)) == {"picture", "sound"}


def test_a_file_without_sound_claims_none(tmp_path):
    clip = encode(tmp_path / "a.mp4", pictures(3), record={"by": 'a test; it\'s 50 % = \\ "so"'})
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
