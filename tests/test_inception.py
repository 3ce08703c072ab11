"""The FID network gives pytorch-fid's features."""

import pytest
import torch
import torch.nn.functional as F

from models.errors import WeightsError
from models.inception import load_inception


class Layers:
    """conv-bn-relu by name; a name that is new gets random weights, so that one pass fills `state`."""

    def __init__(self):
        self.state: dict[str, torch.Tensor] = {}
        self.made = torch.Generator().manual_seed(0)

    def __call__(self, name, x, width, kernel=(1, 1), stride=1, padded=True):
        if f"{name}.conv.weight" not in self.state:
            self.add(name, (width, x.shape[1], *kernel))
        padding = [side // 2 for side in kernel] if padded else 0
        x = F.conv2d(x, self.state[f"{name}.conv.weight"], stride=stride, padding=padding)
        weight, bias, mean, var = (self.state[f"{name}.bn.{part}"] for part in self.PARTS)
        return F.relu((x - mean) / (var + 1e-3).sqrt() * weight + bias)

    PARTS = ("weight", "bias", "running_mean", "running_var")

    def add(self, name, shape):
        fan_in = shape[1] * shape[2] * shape[3]
        self.state[f"{name}.conv.weight"] = torch.randn(shape, generator=self.made) * (2 / fan_in) ** 0.5
        for part, low in zip(self.PARTS, (0.7, -0.3, -0.3, 0.7), strict=True):
            self.state[f"{name}.bn.{part}"] = torch.rand(shape[0], 1, 1, generator=self.made) * 0.6 + low
        self.state[f"{name}.bn.num_batches_tracked"] = torch.tensor(1)

    def official(self) -> dict[str, torch.Tensor]:
        state = {key: value.flatten() if ".bn." in key and value.dim() else value for key, value in self.state.items()}
        return state | {"fc.weight": torch.ones(1008, 2048), "fc.bias": torch.ones(1008)}


def resize(images):
    """Bilinear, pixel centres half a pixel from the edge, two neighbours whatever the scale."""
    for dim in (2, 3):
        size = images.shape[dim]
        place = ((torch.arange(299, dtype=torch.float64) + 0.5) * size / 299 - 0.5).clamp(0, size - 1)
        low = place.floor().long()
        high, weight = (low + 1).clamp(max=size - 1), (place - low).float()
        weight = weight[:, None] if dim == 2 else weight
        images = images.index_select(dim, low) * (1 - weight) + images.index_select(dim, high) * weight
    return images


def average(x):
    """3x3 mean of the pixels that there are."""
    kernel = torch.ones(1, 1, 3, 3)
    count = F.conv2d(torch.ones_like(x[:1, :1]), kernel, padding=1)
    return F.conv2d(x.flatten(0, 1)[:, None], kernel, padding=1).view_as(x) / count


def halve(x):
    return F.max_pool2d(x, 3, stride=2)


def block_a(conv, n, x, pooled):
    five = conv(f"{n}.branch5x5_2", conv(f"{n}.branch5x5_1", x, 48), 64, (5, 5))
    three = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x, 64), 96, (3, 3))
    three = conv(f"{n}.branch3x3dbl_3", three, 96, (3, 3))
    return torch.cat([conv(f"{n}.branch1x1", x, 64), five, three, conv(f"{n}.branch_pool", average(x), pooled)], 1)


def block_b(conv, n, x):
    three = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x, 64), 96, (3, 3))
    three = conv(f"{n}.branch3x3dbl_3", three, 96, (3, 3), stride=2, padded=False)
    return torch.cat([conv(f"{n}.branch3x3", x, 384, (3, 3), stride=2, padded=False), three, halve(x)], 1)


def block_c(conv, n, x, width):
    seven = conv(f"{n}.branch7x7_2", conv(f"{n}.branch7x7_1", x, width), width, (1, 7))
    seven = conv(f"{n}.branch7x7_3", seven, 192, (7, 1))
    double = conv(f"{n}.branch7x7dbl_1", x, width)
    for i, (kernel, out) in enumerate([((7, 1), width), ((1, 7), width), ((7, 1), width), ((1, 7), 192)], start=2):
        double = conv(f"{n}.branch7x7dbl_{i}", double, out, kernel)
    return torch.cat([conv(f"{n}.branch1x1", x, 192), seven, double, conv(f"{n}.branch_pool", average(x), 192)], 1)


def block_d(conv, n, x):
    three = conv(f"{n}.branch3x3_2", conv(f"{n}.branch3x3_1", x, 192), 320, (3, 3), stride=2, padded=False)
    seven = conv(f"{n}.branch7x7x3_2", conv(f"{n}.branch7x7x3_1", x, 192), 192, (1, 7))
    seven = conv(f"{n}.branch7x7x3_3", seven, 192, (7, 1))
    return torch.cat([three, conv(f"{n}.branch7x7x3_4", seven, 192, (3, 3), stride=2, padded=False), halve(x)], 1)


def block_e(conv, n, x, pooled):
    three = conv(f"{n}.branch3x3_1", x, 384)
    double = conv(f"{n}.branch3x3dbl_2", conv(f"{n}.branch3x3dbl_1", x, 448), 384, (3, 3))
    split = [conv(f"{n}.branch3x3_2a", three, 384, (1, 3)), conv(f"{n}.branch3x3_2b", three, 384, (3, 1))]
    split += [conv(f"{n}.branch3x3dbl_3a", double, 384, (1, 3)), conv(f"{n}.branch3x3dbl_3b", double, 384, (3, 1))]
    return torch.cat([conv(f"{n}.branch1x1", x, 320), *split, conv(f"{n}.branch_pool", pooled, 192)], 1)


def features(conv, images):
    """pytorch-fid's forward pass with the default options."""
    x = conv("Conv2d_1a_3x3", resize(images) * 2 - 1, 32, (3, 3), stride=2, padded=False)
    x = conv("Conv2d_2a_3x3", x, 32, (3, 3), padded=False)
    x = halve(conv("Conv2d_2b_3x3", x, 64, (3, 3)))
    x = halve(conv("Conv2d_4a_3x3", conv("Conv2d_3b_1x1", x, 80), 192, (3, 3), padded=False))
    for letter, pooled in zip("bcd", (32, 64, 64), strict=True):
        x = block_a(conv, f"Mixed_5{letter}", x, pooled)
    x = block_b(conv, "Mixed_6a", x)
    for letter, width in zip("bcde", (128, 160, 160, 192), strict=True):
        x = block_c(conv, f"Mixed_6{letter}", x, width)
    x = block_d(conv, "Mixed_7a", x)
    x = block_e(conv, "Mixed_7b", x, average(x))
    x = block_e(conv, "Mixed_7c", x, F.max_pool2d(x, 3, stride=1, padding=1))
    return x.mean((2, 3))


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 160, 330, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def layers(images):
    layers = Layers()
    features(layers, images[:, :, :8, :8])
    return layers


def test_features_are_pytorch_fids(layers, images, tmp_path):
    state = layers.official()
    assert len(state) == 566
    state = {f"module.{key}": value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "inception.pth")
    network = load_inception(tmp_path / "inception.pth")
    found, expected = network(images), features(layers, images)
    assert found.shape == (2, 2048)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert not network.training and not found.requires_grad


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("Mixed_7c.branch_pool.conv.weight"), "lacks Mixed_7c.branch_pool.conv.weight"),
        (lambda state: state.update({"AuxLogits.fc.bias": torch.ones(1)}), "has AuxLogits.fc.bias too many"),
        (lambda state: state.update({"fc.bias": torch.ones(1000)}), r"fc.bias is \(1000,\), expected \(1008,\)"),
    ],
)
def test_another_networks_file_is_refused(layers, tmp_path, change, message):
    state = {key: torch.tensor(1.0).expand(value.shape) for key, value in layers.official().items()}
    change(state)
    torch.save(state, tmp_path / "inception.pth")
    with pytest.raises(WeightsError, match=rf"inception\.pth: .*{message}"):
        load_inception(tmp_path / "inception.pth")
