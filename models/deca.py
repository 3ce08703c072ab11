"""DECA's coarse encoder (Feng et al. 2021): face parameters from one image, and the crop that it was trained on.

FLAME, the renderer and the detail branch are not needed: pose and expression come straight out of the encoder.
"""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50

from models.checkpoint import load_strictly, part, read_checkpoint

CROP = 224  # px, the network's input
OUTPUTS = {"shape": 100, "texture": 50, "expression": 50, "pose": 6, "cam": 3, "light": 27}  # in the network's order
LANDMARKS_TO_FACE = 1.1  # the face's box over the box of its 68 landmarks
FACE_TO_CROP = 1.25


def load_deca(path: Path) -> "DECA":
    """DECA from deca_model.tar, of which only `E_flame` is used; frozen, in eval mode, on the CPU.

    Raises:
        WeightsError: the file cannot be read, or is another network's; it names the first keys or shape that differ.
    """
    state = part(read_checkpoint(path), "E_flame", path)
    return load_strictly(DECA(), state, path)


class DECA(nn.Module):
    """ResNet-50 and two linear layers. In full precision even under autocast: small motions would drown."""

    def __init__(self):
        super().__init__()
        self.encoder = resnet50(weights=None)
        self.encoder.fc = nn.Identity()
        self.layers = nn.Sequential(nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, sum(OUTPUTS.values())))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Face parameters, differentiable in the images.

        Args:
            images: (B, 3, 224, 224) RGB in [0, 1], as `crop_faces` cuts them; no ImageNet normalisation.

        Returns:
            shape (B, 100), texture (B, 50) and expression (B, 50) coefficients; pose (B, 6), two axis-angle rotations
            in radians: head, then jaw; cam (B, 3), scale and shift of the weak-perspective camera; light (B, 9, 3),
            spherical harmonics of each colour.

        Raises:
            ValueError: the images have another size.
        """
        if images.shape[1:] != (3, CROP, CROP):
            raise ValueError(
                f"images are {tuple(images.shape)}, DECA takes (B, 3, {CROP}, {CROP}); crop the faces first"
            )
        with torch.autocast(images.device.type, enabled=False):
            parameters = self.layers(self.encoder(images.to(self.layers[0].weight.dtype)))
        outputs = dict(zip(OUTPUTS, parameters.split(list(OUTPUTS.values()), 1), strict=True))
        return outputs | {"light": outputs["light"].unflatten(1, (9, 3))}


def crop_faces(images: Tensor, landmarks: Tensor) -> Tensor:
    """Cut a face out of each image as DECA's data loader does: an upright square, bilinear, black outside the image.

    Args:
        images: (B, 3, H, W) float, RGB in [0, 1].
        landmarks: (B, 68, 2) px, integers at the centres of pixels; no gradient flows to them.

    Returns:
        (B, 3, 224, 224), differentiable in the images.

    Raises:
        ValueError: the landmarks have another shape.
    """
    if landmarks.shape != (len(images), 68, 2):
        raise ValueError(f"landmarks are {tuple(landmarks.shape)}, expected ({len(images)}, 68, 2)")
    # Float64, as the original: float32 would blur sharp pixels of large images by more than DECA's own rounding.
    points = landmarks.detach().to(images.device, torch.float64)
    (left, top), (right, bottom) = points.amin(1).T, points.amax(1).T  # (B,) each
    face = (right - left + bottom - top) / 2 * LANDMARKS_TO_FACE
    size = (face * FACE_TO_CROP).trunc()  # px; in this order, since a rounding error can move it by a whole pixel
    centre = torch.stack([right - (right - left) / 2, bottom - (bottom - top) / 2], 1)
    steps = torch.linspace(-0.5, 0.5, CROP, device=points.device, dtype=points.dtype)
    along = centre[:, :, None] + size[:, None, None] * steps  # (B, 2, 224) px: x of the columns, y of the rows
    height, width = images.shape[2:]
    x, y = along[:, 0] * 2 / (width - 1) - 1, along[:, 1] * 2 / (height - 1) - 1
    grid = torch.stack([x[:, None, :].expand(-1, CROP, -1), y[:, :, None].expand(-1, -1, CROP)], -1)
    return F.grid_sample(images.double(), grid, padding_mode="zeros", align_corners=True).to(images.dtype)


def crop_face(image: Tensor, landmarks: Tensor | np.ndarray) -> Tensor:
    """`crop_faces` for one image: (3, H, W) and (68, 2) px -> (3, 224, 224)."""
    return crop_faces(image[None], torch.as_tensor(landmarks)[None])[0]
