from dataclasses import replace

import numpy as np
import pytest
import skimage.data
import torch

from models.face_parameters import FaceParameters, fit_neutral, sixty_eight
from pipeline import stores, train_stage1, train_stage2
from pipeline.errors import InputError
from pipeline.face_tracker import FaceTracker
from pipeline.portrait import load_portrait
from tests.test_train_stage1 import LAYOUT, interrupt, schedule, weights_of

SIZE = 64


@pytest.fixture(scope="module")
def clips(tmp_path_factory, face_mesh_weights):
    """Stores of a face pushed about, and of a driver who pushes further; Stage I of the first."""
    picture = skimage.data.astronaut()
    folders = {}
    for name, reach in (("target", 6), ("driver", 12)):
        angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
        corners = zip((reach * np.cos(angle)).astype(int), (reach * np.sin(angle)).astype(int), strict=True)
        frames = np.stack([picture[20 + y : 180 + y, 140 + x : 300 + x] for x, y in corners])
        folders[name] = write(tmp_path_factory.mktemp("clips") / name, frames, face_mesh_weights)
    stage1 = tmp_path_factory.mktemp("stage1") / "stage1.pt"
    train_stage1.main(
        **folders["target"],
        out=stage1,
        history=stage1.with_suffix(".tsv"),
        preview=stage1.with_suffix(".png"),
        layout=replace(LAYOUT, size=SIZE),
        schedule=schedule(images=800),
        weights=train_stage1.Weights(reconstruction=100, mouth=2, eyes=4, velocity=1, lips=1),
        held_out=0.2,
        blinks=0,
        device="cpu",
    )
    return folders, stage1


def write(folder, frames, weights):
    paths = {name: folder / f"{name}.h5" for name in ("frames", "face", "gaze")}
    mesh = torch.from_numpy(FaceTracker(*weights, torch.device("cpu")).track(lambda: [frames]).mesh[:])
    neutral = fit_neutral(mesh)
    found = {name: value.numpy() for name, value in FaceParameters(neutral)(mesh, frames.shape[1]).items()}
    valid = np.ones(len(frames), bool)
    with stores.FramesWriter(
        paths["frames"], size=frames.shape[1], fps=25, box=(0, 0, 160), source="a.mp4", sha256="0" * 64
    ) as writer:
        writer.append(frames)
    motion = {name: found[name] for name in ("pose", "expression", "position")}
    landmarks = sixty_eight(mesh)[..., :2].numpy()
    meshes = {"landmarks": landmarks, "mesh": mesh.numpy(), "neutral": neutral.numpy()}
    face = stores.Face(**motion, **meshes, valid=valid, tracker="test", weights="", clip=writer.identity)
    stores.write_face(paths["face"], face)
    stores.write_gaze(paths["gaze"], stores.Gaze(found["gaze"], valid, "test", "", writer.identity))
    return paths


def train(folder, clips, networks, **changes):
    folders, stage1 = clips
    options = {
        "schedule": schedule(images=40, rate=1e-3),
        "weights": train_stage2.Weights(100, 2, 2, 0.5, 0.1, 0.02, 1, 1),
        "auxiliary_face": [folders["driver"]["face"]],
        "auxiliary_gaze": [folders["driver"]["gaze"]],
    }
    train_stage2.main(
        stage1=stage1,
        **folders["target"],
        networks=networks,
        consistency="mediapipe",
        perceptual="mediapipe",
        out=folder / "stage2.pt",
        history=folder / "history.tsv",
        preview=folder / "preview.png",
        critic=train_stage2.Critic(channels=4, rate=4e-4),
        held_out=0.2,
        blinks=0,
        transfer="relative",
        device="cpu",
        **options | changes,
    )
    return folder / "stage2.pt"


def test_stage2_makes_novel_motion_more_consistent(tmp_path, clips, face_mesh_weights):
    longer = {"schedule": schedule(images=240, rate=1e-3)}
    without = train(
        tmp_path / "without",
        clips,
        face_mesh_weights[0].parent,
        **longer,
        weights=train_stage2.Weights(100, 2, 2, 0, 0, 0, 1, 1),
    )
    with_terms = train(
        tmp_path / "with",
        clips,
        face_mesh_weights[0].parent,
        **longer,
        weights=train_stage2.Weights(100, 2, 2, 0, 1, 0, 1, 1),
    )
    logs = [np.genfromtxt(path.with_name("history.tsv"), names=True) for path in (without, with_terms)]
    assert logs[1]["consistency"][-15:].mean() < 0.9 * logs[0]["consistency"][-15:].mean()


def test_an_interrupted_stage2_continues_to_the_same_weights(tmp_path, clips, face_mesh_weights, monkeypatch, capsys):
    whole = weights_of(train(tmp_path / "whole", clips, face_mesh_weights[0].parent))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after=6)
        train(tmp_path / "broken", clips, face_mesh_weights[0].parent)
    resumed = weights_of(train(tmp_path / "broken", clips, face_mesh_weights[0].parent))
    assert "continuing at step 6" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))


def test_the_auxiliary_clips_are_kept_on_record(tmp_path, clips, face_mesh_weights):
    train(tmp_path, clips, face_mesh_weights[0].parent)
    assert (tmp_path / "auxiliary.txt").read_text() == "driver\n"
    portrait = load_portrait(tmp_path / "stage2.pt", torch.device("cpu"))
    assert portrait.code.shape == (1, 4)


def test_an_auxiliary_clip_without_faces_is_refused_by_name(tmp_path, clips, face_mesh_weights):
    face = stores.read_face(clips[0]["driver"]["face"])
    blind = tmp_path / "blind.h5"
    stores.write_face(blind, stores.Face(**{**vars(face), "valid": np.zeros(10, bool)}))
    with pytest.raises(InputError, match=r"blind\.h5: no frame with a face"):
        train(tmp_path, clips, face_mesh_weights[0].parent, auxiliary_face=[blind])
