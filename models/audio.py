"""The audio vector: AD-NeRF's two small networks over windows of sound features (YudongGuo/AD-NeRF, same key names)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

BEFORE, WINDOW = 4, 8  # frames i-4 ... i+3 smooth frame i
CENTRE = 3.0  # logit by which attention begins at frame i itself


class AudioNet(nn.Module):
    """Encode the window of each frame by itself.

    Args:
        out: length of a vector; 32 in the paper (30,720 parameters).
    """

    def __init__(self, out: int = 32):
        super().__init__()
        widths = [29, 32, 32, 64, 64]  # rows: 16 -> 8 -> 4 -> 2 -> 1
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, stride=2, padding=1), nn.LeakyReLU(0.02)]
        self.encoder_conv = nn.Sequential(*layers)
        self.encoder_fc1 = nn.Sequential(nn.Linear(64, 64), nn.LeakyReLU(0.02), nn.Linear(64, out))

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 16, 29) -> (B, out)."""
        return self.encoder_fc1(self.encoder_conv(windows.transpose(1, 2)).squeeze(2))


class AudioAttention(nn.Module):
    """Smooth over time: a weighted mean of the vectors around a frame, the weights found by attention.

    Args:
        dim: length of a vector; 32 in the paper (2,149 parameters).
        window: vectors per frame.
    """

    def __init__(self, dim: int = 32, window: int = WINDOW):
        super().__init__()
        widths = [dim, 16, 8, 4, 2, 1]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv1d(before, after, 3, padding=1), nn.LeakyReLU(0.02)]
        self.attentionConvNet = nn.Sequential(*layers)
        self.attentionNet = nn.Sequential(nn.Linear(window, window), nn.Softmax(-1))

    def forward(self, vectors: Tensor) -> Tensor:
        """(B, window, dim) -> (B, dim), or (window, dim) -> (dim,)."""
        weights = self.attentionNet(self.attentionConvNet(vectors.transpose(-1, -2)).squeeze(-2))  # (..., window)
        return (vectors * weights[..., None]).sum(-2)


class AudioEncoder(nn.Module):
    """Both networks: the audio vector of a frame, with a head that reads the mouth off it.

    The head learns from the tracked expression while a portrait is trained and is not used to render. Without it the
    sound reaches the mouth through the picture alone, slowly.
    """

    def __init__(self, dim: int = 32, expression: int = 50):
        super().__init__()
        self.net, self.attention = AudioNet(dim), AudioAttention(dim)
        self.mouth = nn.Linear(dim, expression)
        with torch.no_grad():  # equal weights would blur a third of a second, and the mouth would be slow to learn
            self.attention.attentionNet[0].bias[BEFORE] += CENTRE

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 8, 16, 29) windows around each frame -> (B, dim)."""
        return self.attention(self.net(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]))

    def heard_expression(self, windows: Tensor) -> Tensor:
        """(B, 8, 16, 29) windows -> (B, expression) what the head reads off the audio vector."""
        return self.mouth(self(windows))


def neighbours(audio: Tensor, index: Tensor) -> Tensor:
    """The windows of frames i-4 ... i+3, of which AudioAttention makes the vector of frame i.

    Beyond the ends of the clip the windows are zeros; they still pass through AudioNet, as in AD-NeRF, so the vectors
    there are AudioNet(0) and not 0.

    Args:
        audio: (N, 16, 29) windows of all frames in time order.
        index: (B,) frames, 0 to N - 1, int64.

    Returns:
        (B, 8, 16, 29).
    """
    frames = index[:, None] + torch.arange(-BEFORE, WINDOW - BEFORE, device=index.device)  # (B, 8)
    beyond = (frames < 0) | (frames >= len(audio))
    return audio[frames.clamp(0, len(audio) - 1)].masked_fill(beyond[..., None, None], 0)
