import pytest
import torch

from models.deca import DECA
from models.deca_consistency import DecaConsistency

SIZE = 64  # of the stored frames, px


@pytest.fixture(scope="module")
def phi():
    """Two performing frames: the face at the left, the face at the right."""
    torch.manual_seed(0)
    left = torch.rand(68, 2) * torch.tensor([24.0, 40.0]) + torch.tensor([2.0, 12.0])
    return DecaConsistency(DECA(), torch.stack([left, left + torch.tensor([34.0, 0.0])]), SIZE)


def position_of(phi: DecaConsistency, frame: int) -> torch.Tensor:
    """(1, 3) centre and side of a performing frame's face, as the tracker has it."""
    low, high = phi.landmarks[frame].amin(0), phi.landmarks[frame].amax(0)
    return torch.cat([(low + high) / 2, (high - low).mean()[None]])[None]


@pytest.mark.parametrize("texture", [0, 1])
@pytest.mark.parametrize("size", [64, 32])
def test_a_picture_is_seen_where_the_face_was_to_be_whatever_the_texture_frame(phi, size, texture):
    image = torch.rand(1, 3, size, size).requires_grad_()
    found, features = phi(image, {"position": position_of(phi, 1)}, torch.tensor([texture]))
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
