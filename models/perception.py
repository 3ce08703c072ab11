"""What Stage II sees in a picture: the motion it shows (eq. 5) and features to compare it by (eq. 4)."""

import torch
from torch import Tensor, nn

from models import losses

VGG_LAYERS = {"relu1_1": 1 / 32, "relu2_1": 1 / 16, "relu3_1": 1 / 8, "relu4_1": 1 / 4, "relu5_1": 1.0}  # pix2pixHD's


class Perception(nn.Module):
    """Consistency and perceptual network together.

    Args:
        consistency: called with images (B, 3, S, S) in [0, 1], the motion they were to show and the index (B,) of
            their texture frames, it gives the parameters it finds and its own features; `spread` gives their units.
        vgg: models.vgg; without it the consistency network's own features serve eq. 4. Under autocast it alone computes
            in half precision: it compares, the others measure.
    """

    def __init__(self, consistency: nn.Module, vgg: nn.Module | None):
        super().__init__()
        self.consistency, self.vgg = consistency, vgg
        self.spread = consistency.spread

    def forward(self, images: Tensor, motion: dict[str, Tensor], texture: Tensor) -> tuple[dict[str, Tensor], list]:
        """Parameters by name and features by layer of images (B, 3, S, S) in [0, 1]."""
        found, features = self.consistency(images, motion, texture)
        return found, features if self.vgg is None else self.vgg_features(images)

    @torch.no_grad()
    def features(self, images: Tensor, motion: dict[str, Tensor]) -> list[Tensor]:
        """The features alone, of real pictures that show `motion`."""
        return self.consistency.features(images, motion) if self.vgg is None else self.vgg_features(images)

    def vgg_features(self, images: Tensor) -> list[Tensor]:
        return list(self.vgg(images, layers=tuple(VGG_LAYERS)).values())

    def perceptual(self, features: list[Tensor], texture: list[Tensor]) -> Tensor:
        """Eq. 4 between two pictures' features."""
        return losses.perceptual(features, texture, None if self.vgg is None else list(VGG_LAYERS.values()))
