"""A portrait driven by sound: what moves its mouth, and how well a mouth goes with a sound."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.audio import levelled
from models.errors import WeightsError
from models.face_parameters import SPOKEN
from pipeline import loop_footage, metrics, motion, speak, stores, train_lips, train_stage1
from pipeline.errors import InputError
from pipeline.portrait import load_portrait
from pipeline.sound import read_sound, write_sound
from tests.stores_for_tests import write_clip
from tests.test_train_stage1 import LAYOUT, schedule

FRAMES = 40


@pytest.fixture
def clip(tmp_path):
    """Stores of a face whose expression is what the sound says."""
    paths = write_clip(tmp_path / "clip", frames=FRAMES)
    loud = np.sin(np.arange(FRAMES) * 0.6).astype(np.float32)
    windows = np.repeat(np.repeat(loud[:, None, None], 16, 1), 29, 2)
    face = stores.read_face(paths["face"])
    stores.write_audio(tmp_path / "clip/audio.h5", stores.Audio(windows, 50.0, "test", "", face.clip))
    stores.write_face(paths["face"], replace(face, expression=np.repeat(loud[:, None], 50, 1), pose=face.pose + 0.1))
    return paths | {"audio": tmp_path / "clip/audio.h5"}


def test_the_sound_takes_the_jaws_place(clip):
    heard, _ = motion.load_motion(clip["face"], clip["gaze"], clip["audio"])
    seen, _ = motion.load_motion(clip["face"], clip["gaze"])
    assert heard["audio"].shape == (FRAMES, 8, 16, 29)
    assert (heard["pose"][:, motion.JAW] == 0).all() and (seen["pose"][:, motion.JAW] == 0.1).all()
    assert torch.equal(heard["pose"][:, :3], seen["pose"][:, :3])


def test_a_portrait_learns_to_read_the_mouth_off_the_sound(tmp_path, clip):
    out = tmp_path / "stage1.pt"
    train_stage1.main(
        **clip,
        out=out,
        history=tmp_path / "history.tsv",
        preview=tmp_path / "preview.png",
        layout=replace(LAYOUT, driving="audio"),
        schedule=schedule(images=1600),
        weights=train_stage1.Weights(reconstruction=100, mouth=2, eyes=4, velocity=1, lips=1),
        held_out=0.25,
        blinks=0,
        device="cpu",
    )
    lips = np.genfromtxt(tmp_path / "history.tsv", names=True)["lips"]
    assert lips[-10:].mean() < 0.7 * lips[:3].mean()
    generator = load_portrait(out, torch.device("cpu")).generator
    assert set(generator.inputs) == {"pose", "audio", "position"}


def test_footage_goes_to_and_fro_for_as_long_as_the_speech_lasts(tmp_path, clip):
    write_sound(
        tmp_path / "speech.wav", np.random.default_rng(0).normal(size=16000 * 3).astype(np.float32) * 0.1, 16000
    )
    outs = {f"out_{name}": tmp_path / f"{name}.h5" for name in ("frames", "face", "gaze")}
    stored = {name: clip[name] for name in ("frames", "face", "gaze")}
    speech = tmp_path / "speech.wav"
    target = {"target_face": clip["face"], "target_gaze": clip["gaze"]}
    out = outs | {"out_audio": tmp_path / "audio.wav"}
    loop_footage.main(sound=speech, **stored, **target, **out, held_out=0.25, transfer="direct")
    person, laid = stores.read_face(clip["face"]), stores.read_face(tmp_path / "face.h5")
    assert len(laid.pose) == 75 and len(read_sound(tmp_path / "audio.wav", 16000)) == 48000
    assert np.array_equal(laid.pose[:30], person.pose[:30])  # 30 of the 40 frames are not held out
    assert np.array_equal(laid.pose[30:59], person.pose[28::-1]) and np.array_equal(laid.pose[59], person.pose[1])
    with stores.open_frames(tmp_path / "frames.h5") as frames, stores.open_frames(clip["frames"]) as own:
        assert np.array_equal(frames.frames[30], own.frames[28])


def test_anothers_footage_moves_the_speaker_from_the_speakers_own_neutral(tmp_path, clip):
    other = write_clip(tmp_path / "other", frames=FRAMES)
    shifted = stores.read_face(other["face"])
    nodding = np.float32([0.5, 0.5, 0.5, 0, 0, 0])
    stores.write_face(other["face"], replace(shifted, pose=shifted.pose + nodding))
    write_sound(tmp_path / "speech.wav", np.ones(16000, np.float32) * 0.1, 16000)
    outs = {f"out_{name}": tmp_path / f"{name}.h5" for name in ("frames", "face", "gaze")}
    target = {"target_face": clip["face"], "target_gaze": clip["gaze"]}
    out = outs | {"out_audio": tmp_path / "audio.wav"}
    loop_footage.main(sound=tmp_path / "speech.wav", **other, **target, **out, held_out=0.25, transfer="relative")
    moved, own = stores.read_face(tmp_path / "face.h5"), stores.read_face(clip["face"])
    count = len(moved.pose)
    assert moved.pose[:, :3] == pytest.approx(own.pose[:count, :3], abs=1e-5)  # the shift is gone, the sway stays
    assert np.array_equal(moved.pose[:, motion.JAW], shifted.pose[:count, motion.JAW])  # a shut mouth stays shut


def train_the_lips(tmp_path, clip, **changes) -> Path:
    values = {"windows": 6400, "batch": 16, "rate": 0.002, "decay": 0.01, "dropout": 0.1, "seed": 0, "held_out": 0.25}
    paths = {
        "face": clip["face"],
        "audio": clip["audio"],
        "out": tmp_path / "lips.pt",
        "history": tmp_path / "lips.tsv",
    }
    train_lips.main(**paths, **values | changes, device="cpu")
    return paths["out"]


def test_lips_learn_to_speak_what_they_never_heard(tmp_path, clip):
    lips = train_the_lips(tmp_path, clip)
    speak.main(lips=lips, audio=clip["audio"], face=clip["face"], out=tmp_path / "spoken.h5")
    spoken, seen = stores.read_face(tmp_path / "spoken.h5"), stores.read_face(clip["face"])
    columns = list(SPOKEN)
    unheard = spoken.expression[30:, columns].mean(1), seen.expression[30:, columns].mean(1)
    assert np.corrcoef(*unheard)[0, 1] > 0.9
    upper = [column for column in range(50) if column not in columns]
    assert np.array_equal(spoken.expression[:, upper], seen.expression[:, upper])  # brows and lids are the footage's
    assert np.array_equal(spoken.pose[:, :3], seen.pose[:, :3])


def test_the_same_seed_gives_the_same_lips(tmp_path, clip):
    one, other = (torch.load(train_the_lips(tmp_path, clip, windows=160), weights_only=True) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_silent_clip_cannot_teach_lips(tmp_path, clip):
    hiss = np.random.default_rng(0).normal(-3.4, 0.2, (FRAMES, 16, 29)).astype(np.float32)
    stores.write_audio(clip["audio"], replace(stores.read_audio(clip["audio"]), audio=hiss))
    with pytest.raises(InputError, match=r"audio\.h5: no voice in the clip"):
        train_the_lips(tmp_path, clip)


def test_a_file_that_is_not_a_mouths_is_refused_by_name(tmp_path, clip):
    torch.save({"weight": torch.zeros(2)}, tmp_path / "lips.pt")
    with pytest.raises(WeightsError, match=r"lips\.pt: lacks columns"):
        speak.main(lips=tmp_path / "lips.pt", audio=clip["audio"], face=clip["face"], out=tmp_path / "spoken.h5")


def test_microphone_and_loudness_drop_out_of_levelled_sound():
    sound = torch.randn(50, 16, 29, generator=torch.Generator().manual_seed(0))
    far = 0.7 * sound + torch.linspace(-2, 1, 29)  # quieter in some bands
    torch.testing.assert_close(levelled(far), levelled(sound), atol=0.15, rtol=0)


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_synchrony_finds_the_lag_of_the_mouth(lag):
    loud = np.random.default_rng(0).normal(size=200)
    found = metrics.synchrony(np.roll(loud, lag), loud)
    assert found["lag"] == lag and found["r_best"] > 0.95
    assert abs(found["r_shuffled"]) < 0.3


@pytest.mark.parametrize("mouth", [np.zeros(99), np.full(99, np.nan)])
def test_a_mouth_that_does_not_move_has_no_synchrony(mouth):
    found = metrics.synchrony(mouth, np.random.default_rng(0).normal(size=99))
    assert found == {"r": None, "lag": None, "r_best": None, "r_shuffled": None}


def test_loudness_rises_with_the_power_of_each_frame():
    sound = np.concatenate([np.zeros(640), np.full(640, 0.1), np.full(640, 1.0)])
    assert metrics.loudness(sound, 3) == pytest.approx([-60, -20, 0], abs=0.1)
