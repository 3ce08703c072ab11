"""VGG-19 features, for perceptual losses (paper eq. 4). Loads torchvision's `vgg19-dcbb9e9d.pth`."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import vgg19

from models.checkpoint import load_strictly, read_checkpoint

# Each stage is so many convolutions, each with its ReLU, and a pool: relu1_1 is layer 1, relu5_4 layer 35
STAGES = (2, 2, 4, 4, 4)
RELUS = {
    f"relu{stage}_{i}": 2 * sum(STAGES[: stage - 1]) + (stage - 1) + 2 * i - 1
    for stage, count in enumerate(STAGES, start=1)
    for i in range(1, count + 1)
}
USUAL = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")  # of pix2pixHD, Head2Head, PIRender


def load_vgg19(path: Path) -> nn.Module:
    """torchvision's VGG-19 without its classifier, which the file holds and this drops.

    Raises:
        WeightsError: the file is missing, damaged, carries code, or is another network's.
    """
    state = read_checkpoint(path)
    features = {key: value for key, value in state.items() if not key.removeprefix("module.").startswith("classifier.")}
    return load_strictly(VGG19(), features, path)


class VGG19(nn.Module):
    """Outputs of VGG-19's ReLUs, by name."""

    def __init__(self):
        super().__init__()
        with torch.device("meta"):  # spends neither time nor memory on the classifier
            network = vgg19(weights=None)
        self.features = network.features.to_empty(device="cpu")
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None], persistent=False)  # ImageNet
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None], persistent=False)

    def forward(self, images: Tensor, layers: Sequence[str] = USUAL) -> dict[str, Tensor]:
        """Compute as deep as the layers asked for.

        Args:
            images: (B, 3, H, W) RGB in [0, 1]; normalised here, gradients reach them.
            layers: names of `RELUS`, "relu1_1" to "relu5_4".

        Returns:
            (B, C, h, w) by name; stage k has 64, 128, 256, 512, 512 channels and H / 2^(k - 1) rows.

        Raises:
            ValueError: a layer is unknown.
        """
        unknown = [name for name in layers if name not in RELUS]
        if unknown or not layers:
            raise ValueError(f"no layer {', '.join(unknown) or 'asked for'}; VGG-19 has {', '.join(RELUS)}")
        depths = {RELUS[name]: name for name in layers}
        x = (images - self.mean) / self.std
        found = {}
        for depth, layer in enumerate(self.features[: max(depths) + 1]):
            x = layer(x)
            if depth in depths:  # after a ReLU: it overwrites its input, but nothing overwrites its output
                found[depths[depth]] = x
        return found
