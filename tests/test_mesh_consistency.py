import numpy as np
import pytest
import skimage.data
import torch

from models.face_mesh import FaceMesh, box_of
from models.face_parameters import FaceParameters, fit_neutral
from models.mesh_consistency import MeshConsistency
from pipeline.face_tracker import FaceTracker

SIZE = 160
SHIFTS = [(0, 0), (6, 3), (-5, 8), (9, -4), (-8, -6), (3, 10)]


@pytest.fixture(scope="module")
def tracked(face_mesh_weights):
    """A face pushed about in the picture: images (N, 3, S, S), mesh, motion, and Phi fitted to them."""
    mesh_model, detector_model = face_mesh_weights
    picture = skimage.data.astronaut()
    frames = np.stack([picture[20 + y : 20 + y + SIZE, 140 + x : 140 + x + SIZE] for x, y in SHIFTS])
    mesh = torch.from_numpy(
        FaceTracker(mesh_model, detector_model, torch.device("cpu")).track(lambda: [frames]).mesh[:]
    )
    neutral = fit_neutral(mesh)
    motion = FaceParameters(neutral)(mesh, SIZE)
    phi = MeshConsistency(FaceMesh(mesh_model), neutral, mesh, motion, SIZE)
    return torch.from_numpy(frames).permute(0, 3, 1, 2) / 255, mesh, motion, phi


def test_the_box_that_motion_implies_is_the_trackers_box(tracked):
    _, mesh, motion, phi = tracked
    difference = phi.boxes(motion, SIZE) - box_of(mesh)
    assert difference[:, :3].abs().max() < 4  # px, of a box 100 px wide
    assert difference[:, 3].abs().max() < 0.05


def test_pictures_of_the_person_are_consistent_with_their_own_motion(tracked):
    images, _, motion, phi = tracked
    found, _ = phi(images, motion)
    assert (found["pose"] - motion["pose"]).abs().max() < 0.05
    assert (found["position"] - motion["position"]).abs().max() < 0.03  # the tracker's own boxes are smoothed
    assert (found["expression"] - motion["expression"]).abs().mean() < 0.3


def test_a_smaller_picture_is_consistent_with_the_same_motion(tracked):
    images, _, motion, phi = tracked
    half = torch.nn.functional.avg_pool2d(images, 2)
    found, _ = phi(half, motion)
    assert (found["pose"] - motion["pose"]).abs().max() < 0.08
    assert (found["position"] - motion["position"]).abs().max() < 0.04
    whole, _ = phi(images, motion)
    shift = (found["position"] - whole["position"]).mean(0)[:2]
    assert shift.abs().max() < 0.25 * 2 / half.shape[-1]  # a quarter of its pixels


def test_the_features_alone_are_those_of_the_whole_pass(tracked):
    images, _, motion, phi = tracked
    _, features = phi(images, motion)
    assert all(torch.equal(*pair) for pair in zip(features, phi.features(images, motion), strict=True))


def test_the_wrong_picture_is_inconsistent_and_its_gradient_reaches_the_face(tracked):
    images, _, motion, phi = tracked
    image = images[1:2].clone().requires_grad_()
    asked = {name: value[0:1] for name, value in motion.items()}
    found, features = phi(image, asked)
    assert (found["position"] - asked["position"]).abs().max() > 0.04  # six pixels of eighty
    (found["position"] - asked["position"]).square().sum().backward()
    assert torch.isfinite(image.grad).all() and image.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in phi.parameters())
    assert [len(layer) for layer in features] == [1] * len(features)
