"""The discriminator: a spectrally normalised PatchGAN (paper section 8; layout of pix2pix, 70 x 70 receptive field)."""

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class Discriminator(nn.Module):
    """Judge each patch of an image: real (positive logit) or generated (negative).

    Args:
        channels: of the first layer, doubled three times; 64 in the paper (2,764,737 parameters).
    """

    def __init__(self, *, channels: int):
        super().__init__()
        widths = [3, channels, channels * 2, channels * 4, channels * 8, 1]
        strides = [2, 2, 2, 1, 1]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths, widths[1:], strides, strict=False):
            layers += [spectral_norm(nn.Conv2d(before, after, 4, stride, padding=1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, 1, h, w) logits; 30 x 30 of them at S = 256."""
        return self.layers(images * 2 - 1)
