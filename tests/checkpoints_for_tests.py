"""Write checkpoints in the official layouts for tests: random networks whose last layers are fitted to be of use."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from face_alignment.detection.sfd.net_s3fd import s3fd
from face_alignment.models import FAN
from torch import Tensor, nn

FACE_SIDE = 0.6  # of the picture's shorter side
CELLS = range(2, 17)  # of 32 px along a picture of 64 to 512 px


def write_s3fd(path: Path) -> None:
    """An S3FD that sees one face in the middle of any picture, whatever it shows.

    The picture's sides are 64 to 512 px, the longer at most twice the shorter; the face's box is a square of about
    FACE_SIDE of the shorter side. Place, size and score depend a little on the content.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = s3fd()
        layers = dict(network.named_modules())
        for name, layer in layers.items():
            if isinstance(layer, nn.Conv2d) and "mbox" not in name:
                nn.init.kaiming_normal_(layer.weight)
            if name.endswith("mbox_conf"):
                layer.bias[:-1] = 50  # background, but in the coarsest cells, fitted below
        # The trunk gives 1 and a trace of the content; zero padding then tells each cell where in the picture it is.
        layers["conv5_3"].weight *= 2e-4
        layers["conv5_3"].bias[:] = 1
        shapes = [shape for shape in product(CELLS, CELLS) if max(shape) <= 2 * min(shape)]
        cells = [_coarsest_cells(layers, *shape) for shape in shapes]
        seen, boxes, logits, near = (torch.cat(values) for values in zip(*cells, strict=True))
        _fit(layers["conv7_2_mbox_loc"], seen[near], boxes[near])
        _fit(layers["conv7_2_mbox_conf"], seen, logits)
        torch.save(network.state_dict(), path)


def _coarsest_cells(layers: dict[str, nn.Module], height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The n cells of 128 px of a picture of height x width cells of 32 px.

    Returns:
        what they see (n, 2304), boxes (n, 4) and logits (n, 2) they should give, and which are near the middle (n,).
    """
    fc6 = layers["fc6"]  # on ones, so one input channel will do
    seen = F.conv2d(torch.ones(1, 1, height, width), fc6.weight.sum(1, keepdim=True), fc6.bias, padding=3).relu()
    for name in ("fc7", "conv6_1", "conv6_2", "conv7_1", "conv7_2"):
        seen = layers[name](seen).relu()
    y, x = (index.flatten() for index in torch.meshgrid(*map(torch.arange, seen.shape[2:]), indexing="ij"))
    middle_x, middle_y = 16 * width + 2, 16 * height + 2  # px, of the smaller of the sizes with so many cells
    side = FACE_SIDE * 2 * min(middle_x, middle_y)
    offsets = [(middle_x - (128 * x + 64)) / 51.2, (middle_y - (128 * y + 64)) / 51.2]  # from a prior of 512 px
    sizes = [torch.full(x.shape, math.log(side / 512) / 0.2)] * 2
    # fc6 pads by two cells: what a cell sees is centred elsewhere than its prior.
    apart = torch.maximum((4 * x - 2 - (width - 1) / 2).abs(), (4 * y - 2 - (height - 1) / 2).abs())
    logits = torch.stack([torch.zeros(len(x)), 9.5 - 2.5 * apart.clamp(max=5)], 1)
    return F.unfold(seen, 3, padding=1)[0].T, torch.stack(offsets + sizes, 1), logits, apart < 5


def write_fan(path: Path) -> None:
    """A FAN of four hourglasses that sees a frontal face in the middle of its crop, shaken a little by the content."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        network = FAN(4)
        norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = 1
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
        # Little of the content goes in; zero padding tells the place in the crop.
        network.conv1.weight *= 0.2
        nn.init.normal_(network.conv1.bias)
        pictures = F.interpolate(torch.rand(2, 3, 8, 8), size=256, mode="bilinear")
        network.train()
        network.bn1.eval()
        network(pictures)  # measures the statistics
        for norm in norms:
            norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn(len(norm.bias))
            norm.running_var *= torch.rand(len(norm.bias)) + 0.5
        seen = []
        network.l3.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        network.eval()(pictures)
        wanted = _bumps(_schematic_face()).repeat(len(pictures), 1)
        _fit(network.l3, seen[0].permute(0, 2, 3, 1).flatten(0, 2), wanted)
        torch.save(network.state_dict(), path)


def _schematic_face() -> np.ndarray:
    """68 points (68, 2) of a frontal face, in px of the heatmap of 64 px: jaw, brows, nose, eyes, mouth."""

    def arc(
        count: int, centre: tuple[float, float], radii: tuple[float, float], begin: float, end: float
    ) -> np.ndarray:
        angles = np.linspace(begin, end, count)
        return np.stack([np.cos(angles), np.sin(angles)], 1) * radii + centre

    half, whole = math.pi, 2 * math.pi
    return np.concatenate(
        [
            arc(17, (32, 30), (15, 20), half, 0),
            arc(5, (25, 25), (5, 3), half, whole),
            arc(5, (39, 25), (5, 3), half, whole),
            np.linspace((32, 28), (32, 35), 4),
            np.linspace((29, 37), (35, 37), 5),
            arc(7, (25, 28), (3, 1.5), half, half + whole)[:6],
            arc(7, (39, 28), (3, 1.5), half, half + whole)[:6],
            arc(13, (32, 43), (6, 3), half, half + whole)[:12],
            arc(9, (32, 43), (4, 1.5), half, half + whole)[:8],
        ]
    )


def _bumps(points: np.ndarray, width: float = 4) -> Tensor:
    """Heatmaps (4096, n) with a bump of that width in px at each of the points (n, 2)."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    places = torch.stack([x, y], -1).reshape(-1, 1, 2)
    return torch.exp(-((places - torch.from_numpy(points)) ** 2).sum(-1) / (2 * width**2)).float()


def _fit(layer: nn.Conv2d, seen: Tensor, wanted: Tensor, ridge: float = 1e-3) -> None:
    """Set a convolution so that it turns what it sees (n, inputs) into what is wanted (n, outputs)."""
    seen = torch.cat([seen, torch.ones(len(seen), 1)], 1).double()
    square = seen.T @ seen
    square.diagonal().add_(ridge * square.diagonal().mean())
    weight = torch.linalg.solve(square, seen.T @ wanted.double()).T
    layer.weight[:] = weight[:, :-1].reshape(layer.weight.shape)
    layer.bias[:] = weight[:, -1]
