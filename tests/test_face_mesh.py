"""The reference in data/ is MediaPipe 0.10.21's own output (static image mode) on scikit-image's astronaut."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage
import torch

from models.face_mesh import FaceDetector, FaceMesh, box_of, crop_faces, crop_matrix, to_image

BOXES = torch.tensor([[30.0, 40.0, 50.0, 0.4], [10.0, 60.0, 70.0, -1.0]])


@pytest.fixture(scope="module")
def reference():
    return np.load(Path(__file__).parent / "data" / "face_mesh_reference.npz")


@pytest.fixture(scope="module")
def mesh(face_mesh_weights) -> FaceMesh:
    return FaceMesh(face_mesh_weights[0])


@pytest.fixture(scope="module")
def detector(face_mesh_weights) -> FaceDetector:
    return FaceDetector(face_mesh_weights[1])


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """(1, 3, 512, 512) in [0, 1]."""
    return torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255


@pytest.fixture(scope="module")
def face(picture, reference) -> torch.Tensor:
    """(1, 3, 192, 192) in [0, 1]."""
    return crop_faces(picture, torch.from_numpy(reference["box"])[None])


def test_the_detector_finds_what_mediapipe_finds(detector, picture, reference):
    (faces,) = detector.find(picture)
    assert len(faces.boxes) == 1
    assert np.allclose(faces.boxes[0, :3], reference["box"][:3], atol=0.05)
    assert np.allclose(faces.boxes[0, 3], reference["box"][3], atol=1e-3)
    assert np.allclose(faces.scores[0], reference["score"], atol=1e-3)


def test_the_landmarks_are_those_of_mediapipe(mesh, face, reference):
    landmarks = to_image(mesh(face).landmarks, torch.from_numpy(reference["box"])[None])[0]
    assert np.abs(landmarks.numpy() - reference["landmarks"]).max() < 0.1


def test_the_detector_sees_every_face_of_a_picture_of_any_shape(detector, picture):
    one = picture[:, :, :256, 96:352]
    tall = torch.cat([one, torch.zeros(1, 3, 60, 256), one.flip(3)], 2)
    (faces,) = detector.find(tall)
    assert len(faces.boxes) == 2
    upper, lower = faces.boxes[faces.boxes[:, 1].argsort()]
    assert torch.allclose(lower[:2], torch.tensor([255 - upper[0], upper[1] + 316]), atol=10)
    assert (faces.scores.diff() <= 0).all()


def test_there_is_no_face_in_a_grey_picture(detector, mesh):
    grey = torch.full((1, 3, 100, 120), 0.5)
    (faces,) = detector.find(grey)
    assert faces.boxes.shape == (0, 4) and faces.scores.shape == (0,)
    assert mesh(torch.full((1, 3, 192, 192), 0.5)).presence < 0


def test_presence_and_features_of_a_face(mesh, face):
    found = mesh(face.expand(2, -1, -1, -1))
    assert found.landmarks.shape == (2, 478, 3)
    assert found.presence.shape == (2,) and (found.presence > 0).all()
    assert [tuple(f.shape[1:]) for f in found.features] == [(16, 96, 96), (32, 48, 48), (64, 24, 24), (128, 12, 12)]


def test_the_coarse_mesh_lacks_the_finer_lips_and_eyes_alone(mesh, face):
    landmarks, presence = mesh.coarse(face)
    found = mesh(face)
    kept = torch.tensor(sorted(set(range(468)) - set(mesh.refined.tolist())))
    assert landmarks.shape == (len(face), 468, 3) and len(kept) > 200
    assert torch.equal(landmarks[:, kept], found.landmarks[:, kept]) and torch.equal(presence, found.presence)
    apart = box_of(landmarks) - box_of(found.landmarks)
    assert apart[:, :3].abs().max() < 1 and apart[:, 3].abs().max() < 0.05  # px, rad


def test_the_mesh_stays_precise_under_autocast(mesh, face):
    with torch.autocast("cpu", torch.bfloat16):
        half = mesh(face)
    assert half.landmarks.dtype == torch.float32
    assert torch.equal(half.landmarks, mesh(face).landmarks)


def test_a_step_along_the_gradient_opens_the_mouth(mesh, face):
    def opening(image: torch.Tensor) -> torch.Tensor:
        points = mesh(image).landmarks[0]
        return points[14, 1] - points[13, 1]

    image = face.clone().requires_grad_()
    before = opening(image)
    before.backward()
    assert image.grad.isfinite().all()
    step = 0.5 / image.grad.square().sum()  # to first order, half a pixel
    assert 0.3 < opening(image + step * image.grad) - before < 0.7


def test_a_crop_is_the_warp_of_opencv():
    image = np.random.default_rng(0).integers(0, 255, (100, 80, 3)).astype(np.float32)
    crops = crop_faces(torch.from_numpy(image).permute(2, 0, 1).expand(2, -1, -1, -1), BOXES, size=32)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for crop, matrix in zip(crops, crop_matrix(BOXES, 32).double().numpy(), strict=True):
        expected = cv2.warpAffine(image, matrix, (32, 32), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        assert np.allclose(crop.permute(1, 2, 0), expected, atol=0.1)


def test_a_crop_is_differentiable_in_image_and_box():
    image = torch.rand(2, 3, 9, 7, dtype=torch.double, requires_grad=True)
    boxes = torch.tensor([[3.1, 4.2, 4.3, 0.3], [2.9, 4.8, 3.7, -0.5]], dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda i, b: crop_faces(i, b, size=3), (image, boxes))


def test_landmarks_return_to_where_they_were_cut_from():
    centre = torch.tensor([96.0, 96.0, 10.0]).expand(2, 1, 3)
    assert torch.allclose(to_image(centre, BOXES)[:, 0, :2], BOXES[:, :2])
    assert torch.allclose(to_image(centre, BOXES)[:, 0, 2], 10 * BOXES[:, 2] / 192)
    right = to_image(torch.tensor([192.0, 96.0, 0.0]).expand(2, 1, 3), BOXES)[:, 0, :2] - BOXES[:, :2]
    expected = BOXES[:, 2:3] / 2 * torch.stack([BOXES[:, 3].cos(), BOXES[:, 3].sin()], 1)  # y down: clockwise
    assert torch.allclose(right, expected, atol=1e-5)


def test_the_box_follows_the_landmarks(reference):
    landmarks = torch.from_numpy(reference["landmarks"])
    box = box_of(landmarks)
    moved = box_of(torch.stack([landmarks * 2 + 7, landmarks]))
    assert torch.allclose(moved[1], box)
    assert torch.allclose(moved[0], torch.stack([box[0] * 2 + 7, box[1] * 2 + 7, box[2] * 2, box[3]]))


def test_the_crop_of_a_turned_box_is_upright(mesh, picture, reference):
    box = box_of(torch.from_numpy(reference["landmarks"]))[None]
    turned = torch.rot90(picture, -1, (2, 3))  # clockwise by a right angle: (x, y) -> (511 - y, x)
    turned_box = torch.stack([511 - box[:, 1], box[:, 0], box[:, 2], box[:, 3] + torch.pi / 2], 1)
    assert torch.allclose(crop_faces(turned, turned_box), crop_faces(picture, box), atol=1e-3)
