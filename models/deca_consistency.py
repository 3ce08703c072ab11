"""The consistency network Phi of eq. 5 as the paper has it: DECA's encoder on a crop of the generated picture."""

import torch
from torch import Tensor, nn

from models.crop_units import crop_units, pixels
from models.deca import crop_faces


class DecaConsistency(nn.Module):
    """Measure pose and expression in pictures of one person.

    No detector runs in the training loop: a picture is cropped as its nearest performing frame, the texture frame of
    eq. 4, where the picture was to have its face.

    Args:
        deca: the encoder; its weights get no gradient.
        landmarks: (N, 68, 2) of the person's own frames, px of a picture `size` wide.
    """

    def __init__(self, deca: nn.Module, landmarks: Tensor, size: int):
        super().__init__()
        self.deca = deca.eval().requires_grad_(False)
        self.register_buffer("landmarks", crop_units(landmarks, size))

    def forward(self, images: Tensor, motion: dict[str, Tensor], texture: Tensor) -> tuple[dict[str, Tensor], None]:
        """Find pose (B, 6) and expression (B, 50) in images (B, 3, S, S) in [0, 1].

        Args:
            motion: what the pictures were to show, of which the position (B, 3) counts.
            texture: (B,) index of each picture's texture frame.
        """
        landmarks, position = self.landmarks[texture], motion["position"]
        low, high = landmarks.amin(1), landmarks.amax(1)
        larger = position[:, 2:] / (high - low).mean(1, keepdim=True)
        moved = (landmarks - (low + high)[:, None] / 2) * larger[:, None] + position[:, None, :2]
        crops = crop_faces(images, pixels(moved, images.shape[-1]))
        found = self.deca(crops)
        return {name: found[name] for name in ("pose", "expression")}, None

    def spread(self, motion: dict[str, Tensor]) -> dict[str, Tensor]:
        """The unit in which eq. 5 counts each parameter: the coefficients' own, as in the paper."""
        return {name: torch.ones_like(motion[name][0]) for name in ("pose", "expression")}
