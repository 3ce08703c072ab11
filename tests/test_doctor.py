import math
import re
import shutil
from collections import namedtuple
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import clip_names, doctor, needs
from tests.clips import bad_files, click, pictures, write_clip
from tests.project_for_tests import ROOT

USAGE = namedtuple("USAGE", "total used free")
PAPERS = ["deca", "s3fd", "fan", "gaze360", "deepspeech", "vgg19", "alexnet", "inception", "arcface"]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A project's folder without data, weights and results, on a machine of a known pace."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "matrix_rate", lambda cores: 1e11)
    (tmp_path / "data/videos").mkdir(parents=True)
    return tmp_path


def program(folder: Path, name: str, says: str, monkeypatch) -> None:
    """Put a program before all others on PATH."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:{Path('/usr/bin')}:{Path('/bin')}")


def screen(capsys, status: int = 0) -> str:
    if status:
        with pytest.raises(SystemExit) as end:
            doctor.main()
        assert end.value.code == status
    else:
        doctor.main()
    return capsys.readouterr().out


def unwrapped(said: str) -> str:
    return said.replace("\n    ", " ")


def test_a_fresh_folder_can_run_the_demo_and_is_told_what_it_lacks(folder, capsys):
    said = screen(capsys)
    assert "face_landmark_with_attention.tflite: not yet there, the first run fetches it" in said
    assert "No clip in data/videos yet" in said and "`make demo` can run here" in said
    assert len(said.splitlines()) <= 40 and max(map(len, said.splitlines())) <= 150


def test_a_damaged_network_hinders_and_says_how_to_mend_it(folder, capsys):
    (folder / "weights").mkdir()
    (folder / "weights/face_detection_short_range.tflite").write_bytes(b"half of it")
    said = unwrapped(screen(capsys, status=1))
    assert re.search(r"! network: weights/face_detection_short_range.tflite: not the published .*; delete it", said)
    assert "can run here" not in said


def test_the_right_networks_are_there(face_mesh_weights, capsys):
    assert all(not finding.mend and "yet" not in finding.found for finding in doctor.find_mesh(ROOT / "weights"))


def test_a_good_clip_is_described(tmp_path):
    path = write_clip(tmp_path / "a.mp4", pictures(500, 320, 256), rate=Fraction(30000, 1001), sound=click(16, 1))
    found = doctor.look(path)
    assert (
        found.found == "17 s, 320x256 px, 29.97 frames/s, sound"
        and found.mend == "17 s is short, a minute trains better"
    )
    silent = doctor.look(write_clip(tmp_path / "b.mp4", pictures(11), rate=10))
    assert "no sound: it cannot speak" in silent.found
    assert silent.mend == "1 s is short, a minute trains better; 64x48 px is small; 10 frames/s is slow, mouths need 25"


def test_clips_that_cannot_be_used_are_named_with_the_remedy_and_hinder_no_demo(folder, capsys):
    bad_files(folder / "data/videos")
    shutil.copy(folder / "data/videos/truncated.mp4", folder / "data/videos/my film.mp4")
    said = unwrapped(screen(capsys))
    for line in (
        r"- 'my film.mp4': rename it; a name has at most",
        r"- truncated.mp4: neither video nor sound, or cut off before its index .*; copy the file again",
        r"- empty.mp4: is empty; copy the file again",
        r"- list.mp4: is a list of other files",
    ):
        assert re.search(line, said), line


def test_many_clips_do_not_fill_the_screen_and_the_bad_ones_are_still_named(folder, capsys):
    good = write_clip(folder / "data/videos/a0.mp4", np.zeros((1, 256, 256, 3), np.uint8))
    for number in range(1, 30):
        shutil.copy(good, folder / f"data/videos/a{number}.mp4")
    (folder / "data/videos/z.mp4").touch()
    said = screen(capsys)
    assert "and 23 more" in said and "- z.mp4: is empty" in said


def test_two_clips_of_one_name_hinder_as_the_workflow_does_not_begin(folder, capsys):
    for name in ("a.mp4", "a.mov", "b.mp4"):
        write_clip(folder / f"data/videos/{name}", np.zeros((1, 256, 256, 3), np.uint8))
    said = screen(capsys, status=1)
    assert "! data/videos/a.mp4: data/videos/a.mov has the same name; keep one of the two" in said


LONG = "".join(map(str, range(10, 41)))


@pytest.mark.parametrize(
    "name", ["a b", "ümlaut", "a_speaks_b", "a_speaks", "a.fp16", "self", "self.b", "x" * 20, LONG, ""]
)
def test_such_names_are_not_usable(name):
    assert not clip_names.usable(name) and all(map(clip_names.usable, ("A-b.c_1", "self-made", "selfie", "-a")))


def test_too_little_disk_hinders(folder, capsys, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: USAGE(10**11, 10**11 - 10**8, 10**8))
    said = screen(capsys, status=1)
    assert "0.1 GB free in this folder" in said and re.search(r"! disk: the demo needs about 0\.\d GB", said)


def test_too_little_memory_hinders(folder, capsys, monkeypatch):
    memory = namedtuple("memory", "total available")(10**9, 5 * 10**8)
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: memory)
    assert re.search(r"! memory: the demo needs about 1\.\d GB; close", screen(capsys, status=1))


def test_an_ffmpeg_that_cannot_write_the_results_hinders(folder, capsys, monkeypatch):
    program(folder, "ffmpeg", " V..... mpeg4  MPEG-4", monkeypatch)
    said = unwrapped(screen(capsys, status=1))
    assert f"{folder}/bin/ffmpeg, without libx264" in said and "take it off PATH" in said


def test_a_gpu_that_torch_cannot_use_is_told_with_the_reason(folder, monkeypatch):
    program(folder, "nvidia-smi", "a GPU", monkeypatch)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for cuda, hidden, why in (
        ("13.0", "", "unset it"),
        ("13.0", None, "update the driver"),
        (None, None, "without CUDA"),
    ):
        monkeypatch.setattr(torch.version, "cuda", cuda)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        if hidden is not None:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        found = doctor.find_gpu()
        assert "torch cannot use it" in found.found and why in found.mend and not found.hinders


def test_a_missing_package_hinders_and_another_version_is_told(monkeypatch):
    there = {"torch": None, "numpy": "1.0"}
    right = doctor.installed
    monkeypatch.setattr(doctor, "installed", lambda name: there.get(name, right(name)))
    found = doctor.find_python()
    assert found.hinders and "torch missing (wanted" in found.mend and "numpy 1.0 (wanted" in found.mend
    del there["torch"]
    assert not doctor.find_python().hinders


def test_this_environment_is_as_pinned():
    assert doctor.find_python().mend == ""


def test_the_papers_networks_are_told_with_how_to_get_them(folder, capsys):
    need = needs.needs_of("paper", 1e11, on_gpu=False)
    assert set(need.lacking) == set(PAPERS)
    assert needs.needs_of("default", 1e11, on_gpu=False).lacking == []
    said = unwrapped(screen(capsys))
    assert "`snakemake weights` fetches" in said and "deca_model.tar" in said
    assert re.search(r"get it from https://github.com/deepinsight\S+ and save it as weights/arcface.pth", said)


def test_a_gpu_that_is_too_small_is_told(folder, monkeypatch):
    def full(layout, batch, place):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(needs, "step_seconds", full)
    line = doctor.preset_lines([needs.needs_of("default", 1e11, on_gpu=True)])[2]
    assert "GPU memory too small" in line


def test_a_gpu_too_small_for_the_demo_hinders(folder, capsys, monkeypatch):
    real = needs.needs_of
    monkeypatch.setattr(doctor, "needs_of", lambda name, rate, on_gpu: replace(real(name, rate, False), hours=math.inf))
    said = unwrapped(screen(capsys, status=1))
    assert "! GPU: too little of its memory is free for the demo" in said and "can run here" not in said


@pytest.mark.parametrize(
    ("hours", "said"), [(0.001, "1 minute"), (1.5, "90 minutes"), (30, "30 hours"), (240, "10 days")]
)
def test_durations_are_said_in_the_unit_people_use(hours, said):
    assert doctor.duration(hours) == said
