"""A portrait driven by sound: what moves its mouth, and how well a mouth goes with a sound."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline import loop_footage, metrics, motion, stores, train_stage1
from pipeline.media import read_sound, write_sound
from pipeline.portrait import load_portrait
from tests.stores_for_tests import write_clip
from tests.test_train_stage1 import LAYOUT, schedule

FRAMES = 40


@pytest.fixture
def clip(tmp_path):
    """Stores of a face whose expression is what the sound says."""
    paths = write_clip(tmp_path / "clip", frames=FRAMES)
    loud = np.sin(np.arange(FRAMES) * 0.6).astype(np.float32)
    windows = np.repeat(np.repeat(loud[:, None, None], 16, 1), 29, 2)
    stores.write_audio(tmp_path / "clip/audio.h5", stores.Audio(windows, 50.0, "test", ""))
    face = stores.read_face(paths["face"])
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
        layout=replace(LAYOUT, driving="audio"),
        schedule=schedule(images=1600),
        weights=train_stage1.Weights(reconstruction=100, velocity=1, lips=1),
        held_out=0.25,
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
    loop_footage.main(sound=speech, **stored, **outs, out_audio=tmp_path / "audio.wav", held_out=0.25)
    person, laid = stores.read_face(clip["face"]), stores.read_face(tmp_path / "face.h5")
    assert len(laid.pose) == 75 and len(read_sound(tmp_path / "audio.wav", 16000)) == 48000
    assert np.array_equal(laid.pose[:30], person.pose[:30])  # 30 of the 40 frames are not held out
    assert np.array_equal(laid.pose[30:59], person.pose[28::-1]) and np.array_equal(laid.pose[59], person.pose[1])
    with stores.open_frames(tmp_path / "frames.h5") as frames, stores.open_frames(clip["frames"]) as own:
        assert np.array_equal(frames.frames[30], own.frames[28])


@pytest.mark.parametrize("lag", [-3, 0, 2])
def test_synchrony_finds_the_lag_of_the_mouth(lag):
    loud = np.random.default_rng(0).normal(size=200)
    found = metrics.synchrony(np.roll(loud, lag), loud)
    assert found["lag"] == lag and found["r_best"] > 0.95
    assert abs(found["r_shuffled"]) < 0.3


def test_loudness_rises_with_the_power_of_each_frame():
    sound = np.concatenate([np.zeros(640), np.full(640, 0.1), np.full(640, 1.0)])
    assert metrics.loudness(sound, 3) == pytest.approx([-60, -20, 0], abs=0.1)
