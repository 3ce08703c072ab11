import re
from fractions import Fraction

import numpy as np
import pytest
from scipy.io import wavfile

from models.deepspeech import load_deepspeech, windows
from models.errors import WeightsError
from pipeline import encode_audio
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.sound import write_sound
from pipeline.stores import FramesWriter, read_audio
from tests.clips import bad_files, click, pictures, write_clip
from tests.test_deepspeech import graph, voice
from tests.test_deepspeech import weights as constants


@pytest.fixture
def frames(tmp_path):
    """A store of 30 frames at 29.97 a second."""
    path = tmp_path / "frames.h5"
    with FramesWriter(path, size=4, fps=Fraction(30000, 1001), box=(0, 0, 4), source="clip.mp4", sha256="") as store:
        store.append(np.zeros((30, 4, 4, 3), np.uint8))
    return path


@pytest.fixture
def weights(tmp_path):
    """A folder with a narrow DeepSpeech."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "deepspeech-0_1_0-b90017e8.pb").write_bytes(graph(constants()))
    return folder


def log_mel(folder, **values) -> None:
    """Needs no weights, so there are none."""
    encode_audio.main(extractor="log_mel", networks=folder / "none", **values)


def loudest(path) -> int:
    return int(read_audio(path).audio[:, 8].mean(1).argmax())


def test_every_frame_of_the_store_gets_its_window(tmp_path, frames):
    write_sound(tmp_path / "sound.wav", click(1, 0.6, 16000), 16000)
    log_mel(tmp_path, audio=tmp_path / "sound.wav", frames=frames, out=tmp_path / "audio.h5")
    store = read_audio(tmp_path / "audio.h5")
    assert store.audio.shape == (30, 16, 29)
    assert (store.rate, store.extractor, store.weights) == (50.0, "log-mel 29", "")
    assert loudest(tmp_path / "audio.h5") == pytest.approx(0.61 * 29.97, abs=1)


@pytest.mark.parametrize("seconds", [0.4, 3.0])
def test_sound_of_another_length_still_gives_as_many_windows_as_frames(tmp_path, frames, seconds):
    write_sound(tmp_path / "sound.wav", click(seconds, 0.2, 16000), 16000)
    log_mel(tmp_path, audio=tmp_path / "sound.wav", frames=frames, out=tmp_path / "audio.h5")
    assert len(read_audio(tmp_path / "audio.h5").audio) == 30
    assert loudest(tmp_path / "audio.h5") == pytest.approx(0.21 * 29.97, abs=1)


@pytest.mark.parametrize("rate", [8000, 22050, 48000])
def test_speech_alone_lasts_as_long_as_it_is(tmp_path, rate):
    write_sound(tmp_path / "speech.wav", click(2, 1.2, rate), rate)
    log_mel(tmp_path, audio=tmp_path / "speech.wav", fps="25", out=tmp_path / "audio.h5")
    assert len(read_audio(tmp_path / "audio.h5").audio) == 50
    assert loudest(tmp_path / "audio.h5") == 30


def test_the_sound_of_a_video_begins_with_its_picture(tmp_path):
    times = [Fraction(2, 5) + Fraction(n, 25) for n in range(25)]
    clip = write_clip(tmp_path / "clip.mp4", pictures(25), times=times, sound=click(1.4, 0.8))
    log_mel(tmp_path, audio=clip, fps="25", out=tmp_path / "audio.h5")
    assert loudest(tmp_path / "audio.h5") == pytest.approx(10, abs=1)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text"])
def test_a_bad_file_leaves_nothing_behind(tmp_path, kind):
    audio = bad_files(tmp_path)[kind]
    with pytest.raises(InputError, match=audio.name):
        log_mel(tmp_path, audio=audio, fps="25", out=tmp_path / "out" / "audio.h5")
    assert not (tmp_path / "out").exists()


def test_a_clip_without_sound_is_refused(tmp_path):
    clip = write_clip(tmp_path / "mute.mp4", pictures(3))
    with pytest.raises(InputError, match=r"mute\.mp4: has no sound"):
        log_mel(tmp_path, audio=clip, fps="25", out=tmp_path / "audio.h5")


@pytest.mark.parametrize("fps", ["fast", "0", "-25", "25/0"])
def test_a_frame_rate_that_is_none_is_refused(tmp_path, fps):
    write_sound(tmp_path / "sound.wav", click(1, 0.6, 16000), 16000)
    with pytest.raises(InputError, match=f"--fps {fps}: not a frame rate"):
        log_mel(tmp_path, audio=tmp_path / "sound.wav", fps=fps, out=tmp_path / "audio.h5")


def test_frames_and_fps_exclude_each_other(tmp_path, frames):
    write_sound(tmp_path / "sound.wav", click(1, 0.6, 16000), 16000)
    for values in ({}, {"frames": frames, "fps": "25"}):
        with pytest.raises(InputError, match="either --frames"):
            log_mel(tmp_path, audio=tmp_path / "sound.wav", out=tmp_path / "audio.h5", **values)


def test_deepspeech_sees_the_samples_of_the_wav_file(tmp_path, frames, weights, capsys):
    """Bit for bit: the sound is read as float and goes back to the integers it was."""
    sound = np.concatenate([voice(0.9), np.array([-32768, 32767, 1, -1] * 400, np.int16)])
    wavfile.write(tmp_path / "sound.wav", 16000, sound)
    encode_audio.main(
        audio=tmp_path / "sound.wav", frames=frames, out=tmp_path / "audio.h5", extractor="deepspeech", networks=weights
    )
    store, path = read_audio(tmp_path / "audio.h5"), next(weights.iterdir())
    expected = windows(load_deepspeech(path).logits(sound, 16000), Fraction(30000, 1001), 30)
    np.testing.assert_array_equal(store.audio, expected)
    assert (store.rate, store.extractor, store.weights) == (50.0, "DeepSpeech 0.1.0", sha256(path))
    assert re.search(r"sound\.wav, there and back: (\d+) of \1 rows, 100 %", capsys.readouterr().err)


@pytest.mark.parametrize("seconds", [0.2, 3.0])
def test_deepspeech_windows_are_as_many_as_frames(tmp_path, frames, weights, seconds):
    write_sound(tmp_path / "sound.wav", voice(seconds) / 32768, 16000)
    encode_audio.main(
        audio=tmp_path / "sound.wav", frames=frames, out=tmp_path / "audio.h5", extractor="deepspeech", networks=weights
    )
    made = read_audio(tmp_path / "audio.h5").audio
    assert made.shape == (30, 16, 29)
    assert (made[-1] == made[-2]).all() == (seconds < 1)


def test_without_its_weights_deepspeech_names_the_file(tmp_path):
    write_sound(tmp_path / "sound.wav", click(1, 0.6, 16000), 16000)
    with pytest.raises(InputError, match=r"deepspeech-0_1_0-b90017e8\.pb"):
        encode_audio.main(
            audio=tmp_path / "sound.wav",
            fps="25",
            out=tmp_path / "audio.h5",
            extractor="deepspeech",
            networks=tmp_path,
        )
    assert not (tmp_path / "audio.h5").exists()


def test_a_damaged_graph_leaves_nothing_behind(tmp_path, weights):
    path = next(weights.iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    write_sound(tmp_path / "sound.wav", click(1, 0.6, 16000), 16000)
    with pytest.raises(WeightsError, match=r"deepspeech-0_1_0-b90017e8\.pb: truncated"):
        encode_audio.main(
            audio=tmp_path / "sound.wav", fps="25", out=tmp_path / "audio.h5", extractor="deepspeech", networks=weights
        )
    assert not (tmp_path / "audio.h5").exists()


def test_sound_that_ends_before_the_picture_is_refused_by_deepspeech(tmp_path, weights):
    times = [2 + Fraction(n, 25) for n in range(5)]
    clip = write_clip(tmp_path / "clip.mp4", pictures(5), times=times, sound=click(0.5, 0.1))
    with pytest.raises(InputError, match=r"clip\.mp4: its sound ends before its picture begins"):
        encode_audio.main(audio=clip, fps="25", out=tmp_path / "audio.h5", extractor="deepspeech", networks=weights)
