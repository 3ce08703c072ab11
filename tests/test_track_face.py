from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import skimage
import torch

from models.face_parameters import REFERENCE, sixty_eight
from pipeline import stores
from pipeline.errors import InputError
from pipeline.files import sha256
from pipeline.track_face import main
from pipeline.trackers import open_face_tracker

SIZE = 256


@pytest.fixture(scope="module")
def clip() -> np.ndarray:
    """(8, 256, 256, 3) uint8: a face that moves to the right by 2 px a frame."""
    picture = skimage.data.astronaut()
    return np.stack([picture[8:264, 108 - x : 364 - x] for x in range(0, 16, 2)])


def track(folder: Path, frames: np.ndarray, weights: tuple[Path, Path], **changes) -> stores.Face:
    with stores.FramesWriter(
        folder / "frames.h5", size=SIZE, fps=Fraction(25), box=(0, 0, SIZE), source="astronaut.mp4", sha256="0" * 64
    ) as writer:
        writer.append(frames)
    values = {"tracker": "mediapipe", "batch": 3, "min_valid": 0.5, "device": "cpu"} | changes
    main(frames=folder / "frames.h5", networks=weights[0].parent, out=folder / "face.h5", **values)
    return stores.read_face(folder / "face.h5")


def test_the_position_follows_the_face(tmp_path, clip, face_mesh_weights):
    face = track(tmp_path, clip, face_mesh_weights)
    assert face.valid.all() and face.weights == sha256(face_mesh_weights[0])
    moved = face.position[:, 0] - face.position[0, 0]
    assert np.allclose(moved, np.arange(0, 16, 2) * 2 / SIZE, atol=0.01)
    assert np.array_equal(face.landmarks, sixty_eight(torch.from_numpy(face.mesh[:]))[..., :2].numpy())
    assert face.neutral.shape == (478, 3)


def test_frames_without_a_face_are_marked_and_filled(tmp_path, clip, face_mesh_weights):
    frames = clip.copy()
    frames[2] = 128
    face = track(tmp_path, frames, face_mesh_weights)
    assert np.flatnonzero(~face.valid).tolist() == [2]
    assert np.allclose(face.position[2], face.position[[1, 3]].mean(0), atol=0.01)


def test_too_few_faces_name_the_clip_and_the_first_frame(tmp_path, clip, face_mesh_weights):
    frames = clip.copy()
    frames[3:] = 128
    with pytest.raises(InputError, match=r"^astronaut\.mp4: a face in only 3 of 8 frames, .* frame 3 \(0\.12 s\)"):
        track(tmp_path, frames, face_mesh_weights)
    assert not (tmp_path / "face.h5").exists()


def test_a_clip_without_any_face_is_refused_however_lenient(tmp_path, clip, face_mesh_weights):
    with pytest.raises(InputError, match="a face in only 0 of 8 frames"):
        track(tmp_path, np.full_like(clip, 128), face_mesh_weights, min_valid=0)


@pytest.mark.parametrize("neutral", [None, np.load(REFERENCE)], ids=["unknown", "of the target"])
def test_a_result_without_any_face_can_still_be_stored(tmp_path, clip, face_mesh_weights, neutral):
    tracker = open_face_tracker("mediapipe", face_mesh_weights[0].parent, torch.device("cpu"))
    face = tracker.track(lambda: [np.full_like(clip, 128)], SIZE, neutral)
    stores.write_face(tmp_path / "face.h5", face)  # refuses what is not finite
    assert not stores.read_face(tmp_path / "face.h5").valid.any()
