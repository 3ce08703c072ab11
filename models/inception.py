"""The Inception network of the Fréchet inception distance: torchvision's layout, patched to TensorFlow's of 2015.

Source: mseitzer/pytorch-fid, `pt_inception-2015-12-05-6726825d.pth`. torchvision's own weights and pools give clearly
different features, which no published FID compares with.
"""

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.inception import (
    BasicConv2d,
    Inception3,
    InceptionA,
    InceptionAux,
    InceptionB,
    InceptionC,
    InceptionD,
    InceptionE,
)

from models.checkpoint import load_strictly, read_checkpoint


def load_inception(path: Path) -> nn.Module:
    """The FID network: call it with images (B, 3, H, W) RGB in [0, 1] of any size; it gives features (B, 2048).

    Raises:
        WeightsError: the file is missing, damaged, carries code, or is another network's.
    """
    network = load_strictly(FIDInception(), read_checkpoint(path), path)
    network.fc = nn.Identity()
    return network


class _AverageWithoutPadding:
    """An Inception block whose average pool does not count the padding, as TensorFlow's."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        *branches, _ = super()._forward(x)
        return [*branches, self.branch_pool(F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False))]


class _A(_AverageWithoutPadding, InceptionA):
    pass


class _C(_AverageWithoutPadding, InceptionC):
    pass


class _E1(_AverageWithoutPadding, InceptionE):
    pass


class _E2(InceptionE):
    """The last block takes the maximum, probably by mistake, but every FID has been measured with it."""

    def _forward(self, x: Tensor) -> list[Tensor]:
        *branches, _ = super()._forward(x)
        return [*branches, self.branch_pool(F.max_pool2d(x, 3, stride=1, padding=1))]


class FIDInception(Inception3):
    """Inception v3 with the pools of the FID network and 1008 classes."""

    def __init__(self):
        blocks = [BasicConv2d, _A, InceptionB, _C, InceptionD, _E1, InceptionAux]
        super().__init__(num_classes=1008, aux_logits=False, inception_blocks=blocks, init_weights=False)
        self.Mixed_7c = _E2(2048)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, 1008) logits, or (B, 2048) features where `fc` is removed."""
        images = F.interpolate(images, (299, 299), mode="bilinear", align_corners=False)  # without antialiasing
        return super().forward(images * 2 - 1)
