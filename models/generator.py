"""The generator: a coordinate MLP and a convolutional decoder (paper section 3.2, figures 3, 11 and 12)."""

from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.audio import AudioEncoder
from models.crop_units import crop_units

COORDINATE_FREQUENCIES = 10  # N_x of the paper
HEAD_FREQUENCIES = 8  # for the coordinates in the head's own frame
FREQUENCIES = {"pose": 4, "gaze": 4}  # N_p = N_g; the other inputs enter standardised, not encoded
FLOORS = {
    "expression": 0.5,
    "position": 0.02,
}  # of the spread: less is noise, not to be amplified
Upsampling = Literal["bilinear", "transposed"]
HEAD_UNIT = 4.0  # image size in face sizes: keeps the head's own coordinates near [-1, 1]


def encode(x: Tensor, frequencies: int) -> Tensor:
    """Positional encoding: (B, d, ...) -> (B, 2 * frequencies * d, ...), sine and cosine of x * 2^k * pi / 2.

    With coordinates in [-1, 1] the lowest frequency spans half a turn, so no two pixels share a code.
    """
    scale = 2.0 ** torch.arange(frequencies, device=x.device, dtype=x.dtype) * (torch.pi / 2)
    angle = (x.unsqueeze(2) * scale.view(1, 1, -1, *[1] * (x.dim() - 2))).flatten(1, 2)
    return torch.cat([angle.sin(), angle.cos()], 1)


def convolution_relu(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """`layer(x).relu()`; one kernel where a GPU renders."""
    if x.is_cuda and x.dtype == layer.weight.dtype and not torch.is_grad_enabled():
        return torch.cudnn_convolution_relu(
            x, layer.weight, layer.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
    return layer(x).relu_()


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, activation first."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(convolution_relu(self.first, x.relu()))


class DepthwiseBlock(nn.Module):
    """A convolution of each channel by itself, two layers that mix a pixel's channels, and a shortcut.

    A residual block of as many channels does several times the work. Not in the paper (after MobileNetV2 and ConvNeXt).
    The kernel is 3x3: weights of larger depthwise ones get their gradients up to thirty times slower on a processor.
    """

    def __init__(self, channels: int, expansion: int):
        super().__init__()
        self.spread = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.expand = nn.Conv2d(channels, expansion * channels, 1)
        self.project = nn.Conv2d(expansion * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(convolution_relu(self.expand, self.spread(x)))


class Folded(nn.Conv2d):
    """A convolution that runs on another form of its weights: made in every training step, only once after `eval`."""

    def __init__(self, before: int, after: int, kernel: int):
        super().__init__(before, after, kernel)
        self.register_buffer("kept", None, persistent=False)

    def train(self, mode: bool = True) -> "Folded":
        self.kept = None if mode else self.folded().detach()
        return super().train(mode)

    def kernel(self) -> Tensor:
        return self.folded() if self.kept is None else self.kept

    def folded(self) -> Tensor:
        raise NotImplementedError


class Doubling(Folded):
    """Bilinear up-sampling and a 3x3 convolution: (B, before, H, W) -> (B, after, 2H, 2W); outside `x` is 0.

    Bilinear up-sampling repeats every pixel and blurs with [1 2 1] / 4. Blur and convolution change places: on repeated
    pixels four of the nine products are left, and the blur comes on the fewer channels.
    """

    def __init__(self, before: int, after: int):
        super().__init__(before, after, 3)
        blur = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("blur", (blur[:, None] * blur).expand(after, 1, 3, 3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv_transpose2d(x, self.kernel(), stride=2)  # (B, after, 2H + 2, 2W + 2)
        return F.conv2d(x, self.blur, self.bias, groups=self.out_channels)

    def folded(self) -> Tensor:
        """(before, after, 4, 4): where a pixel's four copies meet the kernel."""
        kernel = self.weight.flip(2, 3)
        down = F.pad(kernel, (0, 0, 0, 1)) + F.pad(kernel, (0, 0, 1, 0))  # of the two copies along an axis
        both = F.pad(down, (0, 1)) + F.pad(down, (1, 0))
        return both.transpose(0, 1).contiguous(memory_format=torch.channels_last)


class ToColours(Folded):
    """A 7x7 convolution to three channels, (B, channels, H, W) -> (B, 3, H, W), both sides even.

    Three channels leave vector units idle: the kernel's four places on 2x2 pixels make twelve, and a stride of two.
    """

    def __init__(self, channels: int):
        super().__init__(channels, 3, 7)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.conv2d(x, self.kernel(), self.bias.repeat_interleave(4), stride=2, padding=3), 2)

    def folded(self) -> Tensor:
        """(12, channels, 8, 8)."""
        places = [F.pad(self.weight, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
        return torch.stack(places, 1).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def upsample(before: int, after: int, how: Upsampling) -> nn.Module:
    """Twice the size, (B, before, H, W) -> (B, after, 2H, 2W)."""
    return Doubling(before, after) if how == "bilinear" else nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)


class LeanTrunk(nn.Module):
    """Depthwise blocks on half the grid's resolution, then a few on the full one. Not in the paper.

    What the MLP knows of each pixel goes past the coarse blocks, so that small parts stay sharp.
    (B, width, H, W) -> (B, channels, H, W), both sides even.
    """

    def __init__(self, width: int, channels: int, blocks: int, fine_blocks: int):
        super().__init__()
        self.down = nn.Conv2d(width, channels, 4, stride=2, padding=1)
        self.blocks = nn.Sequential(*[DepthwiseBlock(channels, expansion=4) for _ in range(blocks)])
        self.up = Doubling(channels, channels)
        self.past = nn.Conv2d(width, channels, 1)
        self.fine_blocks = nn.Sequential(*[DepthwiseBlock(channels, expansion=2) for _ in range(fine_blocks)])

    def forward(self, x: Tensor) -> Tensor:
        return self.fine_blocks(self.up(self.blocks(self.down(x))) + self.past(x)).relu_()


class Generator(nn.Module):
    """Render a person's picture from motion parameters and a latent code.

    Args:
        inputs: width of each motion parameter, e.g. {"pose": 6, "expression": 50, "gaze": 2}.
            With "position" among them, every pixel also gets its coordinates in the head's own frame:
            the face's position, size and roll (from "pose") taken out.
            "audio" is the width of the vector that networks of its own make of the sound.
        size: side of the image; the coordinate grid has a quarter of it.
        width, layers: of the MLP.  channels, blocks: of the decoder.  code: width of the latent code.
        fine_blocks: 0: as in the paper; more: the decoder is lean, see LeanTrunk.
        upsampling: "bilinear" and a convolution (the paper), or "transposed" convolutions (DNP, the paper's baseline).

    The paper's layout is inputs pose 6, expression 50, gaze 2, width 128, layers 8, channels 256, blocks 6,
    fine_blocks 0, code 32: 7,632,134 parameters.
    """

    def __init__(
        self,
        *,
        inputs: dict[str, int],
        size: int,
        width: int,
        layers: int,
        channels: int,
        blocks: int,
        fine_blocks: int,
        code: int,
        upsampling: Upsampling,
    ):
        super().__init__()
        self.inputs = dict(inputs)
        if "audio" in self.inputs:
            self.listen = AudioEncoder(self.inputs["audio"])
        for name, dimensions in self.inputs.items():
            if name in FLOORS:
                self.register_buffer(f"{name}_mean", torch.zeros(dimensions))
                self.register_buffer(f"{name}_scale", torch.ones(dimensions))
        self.register_buffer("grid", pixel_grid(size // 4), persistent=False)
        pixels = encode(self.grid, COORDINATE_FREQUENCIES).movedim(1, -1).contiguous()  # (1, S/4, S/4, 40)
        self.register_buffer("grid_code", pixels, persistent=False)
        head = 4 * HEAD_FREQUENCIES if "position" in self.inputs else 0
        frame = sum(2 * FREQUENCIES[n] * d if n in FREQUENCIES else d for n, d in self.inputs.items()) + code
        self.split = (self.grid_code.shape[-1], head, frame)
        self.mlp = nn.ModuleList([nn.Linear(sum(self.split), width)])
        self.mlp.extend(nn.Conv2d(width, width, 1) for _ in range(layers - 1))
        self.rgb = nn.Conv2d(width, 3, 1)
        if fine_blocks:
            self.trunk = LeanTrunk(width, channels, blocks, fine_blocks)
        else:
            self.trunk = nn.Sequential(nn.Conv2d(width, channels, 1), *[ResidualBlock(channels) for _ in range(blocks)])
        self.up1 = upsample(channels, channels // 2, upsampling)
        self.up2 = upsample(channels // 2, channels // 4, upsampling)
        self.out = ToColours(channels // 4)

    def standardise(self, motion: dict[str, Tensor]) -> None:
        """Take mean and spread of the inputs that are not encoded from the performing frames' motion, each (N, d)."""
        for name in set(self.inputs) & set(FLOORS):
            getattr(self, f"{name}_mean").copy_(motion[name].mean(0))
            getattr(self, f"{name}_scale").copy_(motion[name].std(0).clamp_min(FLOORS[name]))

    def forward(self, motion: dict[str, Tensor], code: Tensor) -> tuple[Tensor, Tensor]:
        """Render a batch.

        Args:
            motion: (B, d) of each of the inputs, radians and crop units as in the stores; "audio" is (B, 8, 16, 29)
                windows around each frame, see models.audio.neighbours.
            code: (B, code) latent codes.

        Returns:
            image (B, 3, S, S) and the MLP's own low-resolution colours (B, 3, S/4, S/4), both in [0, 1].
        """
        # half precision in the MLP costs a rendered picture some grey levels; a training step takes a sixth less by it
        with nullcontext() if self.training else torch.autocast(code.device.type, enabled=False):
            x = self.first_layer(motion, code)
            for layer in self.mlp[1:]:
                x = layer(x.relu_())
            x = x.relu_()
            colours = self.rgb(x).sigmoid()
        x = self.up2(self.up1(self.trunk(x)).relu_()).relu_()
        return self.out(x).float().sigmoid(), colours  # eight bits of bfloat16 would show as bands

    def hidden_weights(self) -> list[nn.Parameter]:
        """Of the layers that mix features of the picture, neither colours nor heard; a depthwise kernel mixes none."""
        parts = [self.mlp, self.trunk, self.up1, self.up2]
        return [each for part in parts for each in part.parameters() if each.dim() > 1 and each.shape[1] > 1]

    def decoder(self) -> list[nn.Module]:
        """What half precision renders; the MLP stays in float32."""
        return [self.trunk, self.up1, self.up2, self.out]

    def first_layer(self, motion: dict[str, Tensor], code: Tensor) -> Tensor:
        """The first linear layer on [pixel code, head code, frame vector] without ever building that input.

        Its pixel part is the same in every frame, its frame part the same in every pixel.
        """
        pixel, head, frame = self.mlp[0].weight.split(self.split, 1)
        vector = torch.cat([*[self.prepared(name, motion[name]) for name in self.inputs], code], 1)  # (B, frame)
        x = F.linear(self.grid_code, pixel) + F.linear(vector, frame, self.mlp[0].bias)[:, None, None]
        if "position" in self.inputs:
            x = x + F.linear(encode(self.head_coordinates(motion), HEAD_FREQUENCIES).movedim(1, -1), head)
        return x.movedim(-1, 1)  # (B, width, S/4, S/4), channels last in memory

    def prepared(self, name: str, value: Tensor) -> Tensor:
        if name == "audio":
            return self.listen(value)
        if name in FREQUENCIES:
            return encode(value, FREQUENCIES[name])
        # linear in the person's own range, logarithmic far outside it, where drivers grimace more than the person did
        return ((value - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_scale")).asinh()

    def head_coordinates(self, motion: dict[str, Tensor]) -> Tensor:
        """(B, 2, S/4, S/4): the grid seen from the head, its position, size and roll taken out."""
        position, roll = motion["position"], motion["pose"][:, 2]  # roll is about the axis to the viewer, y up
        offset = self.grid - position[:, :2, None, None]
        cos, sin = roll.cos()[:, None, None], roll.sin()[:, None, None]
        x, y = cos * offset[:, 0] - sin * offset[:, 1], sin * offset[:, 0] + cos * offset[:, 1]
        return torch.stack([x, y], 1) / (HEAD_UNIT * position[:, 2, None, None, None])


def pixel_grid(size: int) -> Tensor:
    """(1, 2, size, size): x and y of the pixel centres in [-1, 1]."""
    axis = crop_units(torch.arange(size), size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y])[None]
