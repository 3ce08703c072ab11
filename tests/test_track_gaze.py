"""On the reference landmarks of a face that looks near the camera, with its irises and lids moved by hand."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from models.face_parameters import LOWER_LIDS, UPPER_LIDS, fit_neutral
from pipeline import stores
from pipeline.errors import InputError
from pipeline.track_gaze import main
from tests.stores_for_tests import face_of

FRAMES = 9
IRISES = slice(468, 478)


@pytest.fixture
def mesh() -> np.ndarray:
    """(9, 478, 3) px of a face at rest."""
    landmarks = np.load(Path(__file__).parent / "data" / "face_mesh_reference.npz")["landmarks"]
    return np.repeat(landmarks[None], FRAMES, 0)


def gaze_of(folder: Path, mesh: np.ndarray, **changes) -> stores.Gaze:
    neutral = fit_neutral(torch.from_numpy(mesh)).numpy()
    stores.write_face(folder / "face.h5", face_of(FRAMES, mesh=mesh, neutral=neutral, **changes))
    track(folder)
    return stores.read_gaze(folder / "gaze.h5")


def track(folder: Path) -> None:
    """Run the step on face.h5 in the folder; irises are read from its mesh, never from the frames."""
    with stores.FramesWriter(
        folder / "frames.h5", size=32, fps=Fraction(25), box=(0, 0, 32), source="face.mp4", sha256="0" * 64
    ) as writer:
        writer.append(np.zeros((FRAMES, 32, 32, 3), np.uint8))
    stores.write_face(folder / "face.h5", replace(stores.read_face(folder / "face.h5"), clip=writer.identity))
    paths = {name: folder / f"{name}.h5" for name in ("frames", "face")}
    options = {"tracker": "mediapipe", "batch": 4, "blink": 0.5, "device": "cpu"}
    main(**paths, networks=folder, out=folder / "gaze.h5", **options)


def shut(mesh: np.ndarray, frames: slice) -> None:
    for upper, lower in zip(np.ravel(UPPER_LIDS), np.ravel(LOWER_LIDS), strict=True):
        mesh[frames, upper] = mesh[frames, lower]


def test_irises_moved_to_the_left_of_the_image_turn_the_gaze_there(tmp_path, mesh):
    mesh[6:, IRISES, 0] -= 3
    gaze = gaze_of(tmp_path, mesh)
    assert gaze.valid.all()
    assert np.allclose(gaze.gaze[:6], gaze.gaze[0])
    assert (gaze.gaze[6:, 0] > gaze.gaze[0, 0] + 0.1).all()  # as Gaze360: left is positive


def test_gaze_is_bridged_over_a_blink(tmp_path, mesh):
    mesh[5:, IRISES, 0] -= 3
    shut(mesh, slice(3, 6))
    mesh[3:6, IRISES] += 20  # what a mesh says of a hidden iris is worth nothing
    gaze = gaze_of(tmp_path, mesh)
    assert np.flatnonzero(~gaze.valid).tolist() == [3, 4, 5]
    assert np.allclose(gaze.gaze[2:7], np.linspace(gaze.gaze[2], gaze.gaze[6], 5), atol=1e-6)


def test_frames_without_a_face_have_no_gaze_of_their_own(tmp_path, mesh):
    mesh[0, IRISES] += 20
    gaze = gaze_of(tmp_path, mesh, valid=np.arange(FRAMES) > 0)
    assert np.flatnonzero(~gaze.valid).tolist() == [0]
    assert np.array_equal(gaze.gaze[0], gaze.gaze[1])


def test_a_store_without_a_mesh_is_refused(tmp_path):
    face = face_of(FRAMES, mesh=np.zeros((FRAMES, 0, 3)), tracker="DECA")
    stores.write_face(tmp_path / "face.h5", face)
    with pytest.raises(InputError, match=r"DECA keeps no face mesh to read irises from; choose components\.gaze"):
        track(tmp_path)


def test_a_clip_without_a_face_is_refused(tmp_path, mesh):
    with pytest.raises(InputError, match="no frame shows a face"):
        gaze_of(tmp_path, mesh, valid=np.zeros(FRAMES, bool))
