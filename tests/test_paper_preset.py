"""The paper preset from end to end, on random networks in the published layouts and a short schedule."""

import json
import shutil

import h5py
import pytest

from tests.paper_weights_for_tests import write_networks
from tests.project_for_tests import ROOT, Project, copy_project

DRIVEN = "results/Astronaut_driven_by_Admiral.mp4"
SELF = "results/Astronaut_self.mp4"
SPEAKS_SELF = "results/Astronaut_speaks_self.mp4"
AUDIO = "work/clips/Admiral/audio.h5"


@pytest.fixture(scope="module")
def project(tmp_path_factory, face_mesh_weights) -> Project:
    folder = tmp_path_factory.mktemp("paper")
    copy_project(folder)
    return Project(folder, "workflow/presets/paper.yaml", "tests/tiny_paper.yaml")


def test_missing_networks_stop_the_run_before_any_work_in_one_list(project):
    done = project.snakemake("--", DRIVEN)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "Traceback" not in said
    for name in ("deca_model.tar", "gaze360_model.pth.tar", "vgg19-dcbb9e9d.pth", "s3fd-619a316812.pth"):
        assert f"weights/{name}: missing" in said
    assert "weights/arcface.pth: missing; it is" in said and "no program can fetch it" in said
    assert not (project.folder / "work").exists()


def test_every_file_comes_out_that_the_real_networks_would_make(project):
    write_networks(project.folder / "weights")
    done = project.snakemake("--", DRIVEN, SELF, SPEAKS_SELF, AUDIO)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not the published file" in done.stdout + done.stderr  # they are random

    def attribute(path: str, name: str) -> str:
        with h5py.File(project.folder / path) as store:
            return store.attrs[name]

    assert attribute("work/clips/Admiral/face.h5", "tracker") == "DECA on face-alignment's 68 points"
    assert attribute("work/clips/Admiral/gaze.h5", "tracker") == "Gaze360"
    assert attribute(AUDIO, "extractor") == "DeepSpeech 0.1.0"
    driven, own = (
        json.loads((project.folder / name).with_suffix(".metrics.json").read_text()) for name in (DRIVEN, SELF)
    )
    flat = {"r_yaw", "r_roll", "r_mouth", "r_lids"}  # random networks may see no motion
    assert set(driven["missing"]) - flat == {"l1", "psnr", "ssim", "mouth_l1", "lpips"}
    assert not set(own["missing"]) - flat
    assert own["lpips"] > 0 and driven["fid"] > 0 and -1 <= driven["csim"] <= 1
    spoken = json.loads((project.folder / SPEAKS_SELF).with_suffix(".metrics.json").read_text())
    assert spoken["l1"] > 0 and (project.folder / "work/portraits/Astronaut/audio/stage2.pt").exists()
    for name in ("lpips", "fid", "csim"):
        assert "sha256" in own["measured_with"][name]


def test_a_checkpoint_with_code_is_refused_by_name(project):
    weights = project.folder / "weights/deca_model.tar"
    shutil.copy(ROOT / "README.md", weights)
    done = project.snakemake("--forcerun", "track_face", "--until", "track_face", "--", DRIVEN)
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "error: weights/deca_model.tar: refused" in said and "Traceback" not in said
