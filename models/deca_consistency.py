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
        landmarks = crop_units(landmarks, size)
        low, high = landmarks.amin(1, keepdim=True), landmarks.amax(1, keepdim=True)
        centred = landmarks - (low + high) / 2
        self.register_buffer("shapes", centred / (high - low).mean(2, keepdim=True))  # (N, 68, 2), round 0, of side 1

    def forward(self, images: Tensor, motion: dict[str, Tensor], texture: Tensor) -> tuple[dict[str, Tensor], None]:
        """Find pose (B, 6) and expression (B, 50) in images (B, 3, S, S) in [0, 1].

        Args:
            motion: what the pictures were to show, of which the position (B, 3) counts.
            texture: (B,) index of each picture's texture frame.
        """
        centre, side = motion["position"][:, None].split([2, 1], -1)
        landmarks = self.shapes[texture] * side + centre
        crops = crop_faces(images, pixels(landmarks, images.shape[-1]))
        found = self.deca(crops)
        return {name: found[name] for name in ("pose", "expression")}, None

    def spread(self, motion: dict[str, Tensor]) -> dict[str, Tensor]:
        """The unit in which eq. 5 counts each parameter: the coefficients' own, as in the paper."""
        return {name: torch.ones_like(motion[name][0]) for name in ("pose", "expression")}
