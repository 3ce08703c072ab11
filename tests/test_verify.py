"""A video says of itself how it was made; whatever changes afterwards is told."""

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from pipeline import code_digest, present, render, verify
from pipeline.code_digest import ROOT
from pipeline.errors import InputError
from pipeline.media import read_record
from pipeline.provenance import Config, part_digest
from pipeline.sound import write_sound
from tests.clips import pictures, run_ffmpeg
from tests.clips import write_clip as write_video
from tests.portrait_for_tests import save_untrained
from tests.stores_for_tests import write_clip

FRAMES, SIZE = 30, 32
STORES = ("frames", "face", "gaze")
CONFIG = {"train_stage1": {"rate": 0.001, "decay": True}, "render": {"quality": 10, "label": "synthetic"}}


def make(folder: Path) -> None:
    """A rendered video and the result, as the workflow makes them; paths begin at `folder`."""
    write_clip(folder / "driver", FRAMES, SIZE)
    save_untrained(folder / "portrait.pt", SIZE)
    write_sound(folder / "audio.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 16000 * FRAMES // 25), 16000)
    (folder / "config.yaml").write_text(json.dumps(CONFIG | {"render": {"quality": 20, "label": "synthetic"}}))
    (folder / "preset.yaml").write_text("render: {quality: 10}\n")
    (folder / "metrics.json").write_text("{}")
    clip = {"frames": Path("driver/frames.h5"), "audio": Path("audio.wav"), "first": 0.0, "quality": 10}
    render.main(
        **clip,
        portrait=Path("portrait.pt"),
        face=Path("driver/face.h5"),
        gaze=Path("driver/gaze.h5"),
        out=Path("rendered.mp4"),
        transfer="direct",
        smoothing=0,
        batch=8,
        device="cpu",
        config=config("train_stage1", "render.quality"),
    )
    present.main(
        **clip,
        video=Path("rendered.mp4"),
        metrics=Path("metrics.json"),
        out=Path("result.mp4"),
        side_by_side=Path("pair.mp4"),
        label="synthetic",
        config=config("render.label"),
    )


def config(*keys: str) -> Config:
    files = Path("config.yaml"), Path("preset.yaml")
    return Config(files, tuple(f"{key}={part_digest(CONFIG, key)}" for key in keys))


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make(folder)
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    """A copy of all that was made, and the folder to be in."""
    folder = shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(folder)
    return folder


def states(video: str) -> dict[str, str]:
    return {f"{kind} {name}": state for kind, name, state in verify.checks(Path(video), verify.read(Path(video)))}


def told(video: str) -> dict[str, str]:
    """What no longer holds."""
    return {what: state for what, state in states(video).items() if state != "unchanged"}


@pytest.mark.parametrize("video", ["rendered.mp4", "result.mp4"])
def test_a_video_as_it_was_made_verifies(here, capsys, video):
    verify.main(video=Path(video))
    said = capsys.readouterr().out
    assert "synthetic, by MyPortrait" in said
    for what in ("video   sound", "code    pipeline.render", "config  train_stage1", "input   portrait.pt"):
        assert f"unchanged  {what}" in said


def test_a_result_claims_what_its_rendering_and_its_presentation_took(here):
    inputs = {f"input {name}" for name in ("portrait.pt", "audio.wav", *(f"driver/{n}.h5" for n in STORES))}
    assert {what for what in states("result.mp4") if what.startswith("input")} == inputs
    assert {"code pipeline.render", "code pipeline.present", "config render.label"} <= set(states("result.mp4"))


def test_the_same_inputs_give_the_same_record(here):
    before = {video: read_record(Path(video)) for video in ("rendered.mp4", "result.mp4")}
    make(here)
    assert {video: read_record(Path(video)) for video in before} == before
    assert len(before["result.mp4"]) < 2000


def test_players_and_programs_read_that_it_is_synthetic(here):
    for video in ("rendered.mp4", "result.mp4"):
        with av.open(video) as container:
            said = container.metadata
        assert said["title"].startswith("Synthetic") and said["comment"].startswith("Synthetic")
        assert json.loads(said["synopsis"])["synthetic"] is True


def test_a_changed_portrait_is_told(here):
    state = torch.load("portrait.pt", weights_only=True)
    torch.save(state | {"codes": state["codes"] + 1e-6}, "portrait.pt")
    assert told("result.mp4") == {"input portrait.pt": "changed"}


def test_a_changed_driver_is_told(here):
    write_clip(here / "driver", FRAMES, SIZE, expression=np.zeros((FRAMES, 50), np.float32))
    assert told("result.mp4") == {"input driver/face.h5": "changed"}


def test_a_missing_driver_and_another_sound_are_told(here):
    (here / "driver/gaze.h5").unlink()
    write_sound(here / "audio.wav", np.zeros(16000), 16000)
    assert told("result.mp4") == {"input driver/gaze.h5": "missing", "input audio.wav": "changed"}


def test_changed_code_is_told(here, tmp_path, monkeypatch):
    for package in code_digest.PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    monkeypatch.setattr(code_digest, "ROOT", tmp_path)
    assert told("result.mp4") == {}
    step = tmp_path / "pipeline/render.py"
    step.write_text(step.read_text().replace("smoothed(motion, smoothing)", "smoothed(motion, 0)"))
    assert told("result.mp4") == {"code pipeline.render": "changed"}


def test_a_changed_configuration_is_told_by_its_part(here):
    (here / "preset.yaml").write_text("render: {quality: 10}\ntrain_stage1: {rate: 0.002}\n")
    assert told("result.mp4") == {"config train_stage1": "changed"}
    (here / "preset.yaml").unlink()
    assert set(told("result.mp4")) == {"config train_stage1", "config render.quality", "config render.label"}


@pytest.mark.parametrize("edit", [("-c:a", "copy"), ("-t", "0.8", "-c", "copy")], ids=["encoded anew", "trimmed"])
def test_an_edited_video_is_told_from_the_original_in_one_line(here, edit):
    run_ffmpeg("-i", "result.mp4", *edit, "edited.mp4")
    with pytest.raises(
        InputError, match=r"edited\.mp4: no longer holds: video picture changed.*get the original"
    ) as error:
        verify.main(video=Path("edited.mp4"))
    assert "\n" not in str(error.value) and "input" not in str(error.value)


def test_a_video_that_says_nothing_is_refused_in_one_line(tmp_path):
    plain = write_video(tmp_path / "plain.mp4", pictures(2))
    with pytest.raises(InputError, match=r"plain\.mp4: does not say how it was made; .*") as error:
        verify.main(video=plain)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("record", ["half", "[]", "null", '{"code": 3}', '{"config_files": [1]}'])
def test_a_damaged_record_is_refused_in_one_line(here, record):
    run_ffmpeg("-i", "result.mp4", "-c", "copy", "-metadata", f"synopsis={record}", "damaged.mp4")
    with pytest.raises(InputError, match=r"damaged\.mp4: what it says of how it was made is damaged"):
        verify.main(video=Path("damaged.mp4"))


def test_an_empty_record_proves_nothing(here):
    run_ffmpeg("-i", "result.mp4", "-c", "copy", "-metadata", "synopsis={}", "empty.mp4")
    assert told("empty.mp4") == {"video picture": "changed", "video sound": "changed"}


def test_a_cut_off_file_is_refused_in_one_line(here):
    content = Path("result.mp4").read_bytes()
    Path("cut.mp4").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(InputError, match=r"cut\.mp4: "):
        verify.main(video=Path("cut.mp4"))
