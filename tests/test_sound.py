import wave
from fractions import Fraction

import av
import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.media import probe
from pipeline.sound import read_sound, write_sound
from tests.clips import SOUND_RATE, click, onset, pictures, run_ffmpeg, write_clip


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


def test_small_gaps_do_not_add_up(tmp_path):
    """As a recorded call loses packets; each gap is shorter than what is taken for rounding of the times."""
    whole, holes = write_clip(tmp_path / "whole.mkv", pictures(100), sound=click(4, 3.5)), tmp_path / "holes.mkv"
    with av.open(str(whole)) as source, av.open(str(holes), "w") as copy:
        streams = [copy.add_stream_from_template(stream) for stream in source.streams]
        for number, packet in enumerate(packet for packet in source.demux() if packet.size):
            kept = packet.stream.type == "video" or number % 8 or packet.pts * packet.time_base > 3.3
            if kept:
                packet.stream = streams[packet.stream.index]
                copy.mux(packet)
    assert holes.stat().st_size < whole.stat().st_size
    assert onset(read_sound(holes, 16000), 16000) == pytest.approx(3.5, abs=0.04)


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


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.wav", "a.mp3", "a.flac"])
def test_sound_that_ends_before_the_time_it_states_is_refused(tmp_path, name):
    write_sound(tmp_path / "noise.wav", np.random.default_rng(0).uniform(-1, 1, 32000), 16000)
    run_ffmpeg("-i", tmp_path / "noise.wav", "-movflags", "+faststart", tmp_path / name)
    clip = tmp_path / name
    assert len(read_sound(clip, 16000)) == pytest.approx(32000, abs=1200)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"{name}: its sound breaks off after [01]\.\d+ s: .*; copy the file again"):
        read_sound(clip, 16000)


@pytest.mark.parametrize("stated", [0xFFFFFFFF, 0x7FFFF024, 0x80000023], ids=["ffmpeg", "sox", "arecord"])
def test_a_wav_file_of_unknown_length_is_read_to_its_end(tmp_path, stated):
    """As these programs write one into a pipe."""
    write_sound(tmp_path / "a.wav", np.full(16000, 0.5), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = stated.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    assert len(read_sound(tmp_path / "a.wav", 16000)) == 16000


def test_a_clip_without_sound_is_refused_where_sound_is_needed(tmp_path):
    clip = write_clip(tmp_path / "mute.mp4", pictures(2))
    assert not probe(clip).sound
    with pytest.raises(InputError, match=r"mute\.mp4: has no sound"):
        read_sound(clip, 16000)
