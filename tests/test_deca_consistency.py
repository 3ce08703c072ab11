import pytest
import torch

from models.deca import DECA
from models.deca_consistency import DecaConsistency
from pipeline.paper_trackers import box_position

SIZE = 64  # of the stored frames, px


@pytest.fixture(scope="module")
def landmarks() -> torch.Tensor:
    """(2, 68, 2) px of two performing frames: the face at the left, the face at the right."""
    torch.manual_seed(0)
    left = torch.rand(68, 2) * torch.tensor([24.0, 40.0]) + torch.tensor([2.0, 12.0])
    return torch.stack([left, left + torch.tensor([34.0, 0.0])])


@pytest.fixture(scope="module")
def phi(landmarks) -> DecaConsistency:
    return DecaConsistency(DECA(), landmarks, SIZE)


@pytest.mark.parametrize("texture", [0, 1])
@pytest.mark.parametrize("size", [64, 32])
def test_a_picture_is_seen_where_the_face_was_to_be_whatever_the_texture_frame(phi, landmarks, size, texture):
    image = torch.rand(1, 3, size, size).requires_grad_()
    right = torch.from_numpy(box_position(landmarks[1:].numpy(), SIZE))  # as the tracker has it
    found, features = phi(image, {"position": right}, torch.tensor([texture]))
    assert features is None
    assert found["pose"].shape == (1, 6) and found["expression"].shape == (1, 50)
    found["pose"].square().sum().backward()
    seen = image.grad.abs().sum((0, 1, 2)) > 0  # columns
    assert not seen[: size // 4].any() and seen[size // 2 :].float().mean() > 0.7
    assert all(parameter.grad is None for parameter in phi.parameters())


def test_the_coefficients_count_in_their_own_units(phi):
    motion = {"pose": torch.randn(5, 6), "expression": torch.randn(5, 50), "gaze": torch.randn(5, 2)}
    spread = phi.spread(motion)
    assert set(spread) == {"pose", "expression"}
    assert spread["pose"].tolist() == [1] * 6 and spread["expression"].tolist() == [1] * 50
