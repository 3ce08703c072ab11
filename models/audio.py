"""The audio vector: AD-NeRF's two small networks over windows of sound features (YudongGuo/AD-NeRF, same key names)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

BEFORE, WINDOW = 4, 8  # frames i-4 ... i+3 smooth frame i
SILENT = 0.1  # least spread of a band: a silent recording's noise is not speech
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


class Lips(nn.Module):
    """The mouth's motion, read off the sound: the mean of several small networks, in a person's own mean and spread.

    Each is AudioNet with wider layers and dropout, and no attention: half a minute of speech teaches a network that
    sees one window more than it teaches one that sees eight.

    Args:
        columns: places in the expression that speech moves; the jaw's three numbers come before them.
        members: networks that are averaged.
        dropout: part of the features dropped in training.
    """

    def __init__(self, columns: list[int], members: int = 4, dropout: float = 0.0):
        super().__init__()
        out = 3 + len(columns)
        self.register_buffer("columns", torch.tensor(columns))
        self.register_buffer("mean", torch.zeros(out))
        self.register_buffer("spread", torch.ones(out))
        self.members = nn.ModuleList(reader(out, dropout) for _ in range(members))

    def forward(self, windows: Tensor) -> Tensor:
        """(B, 16, 29) `levelled` windows -> (members, B, 3 + k) jaw in rad and expression, as each network reads it."""
        rows = windows.transpose(1, 2)
        return torch.stack([member(rows) for member in self.members]) * self.spread + self.mean


def reader(out: int, dropout: float, width: int = 64) -> nn.Sequential:
    """(B, 29, 16) -> (B, out)."""
    layers: list[nn.Module] = []
    for before in (29, width, width, width):  # rows: 16 -> 8 -> 4 -> 2 -> 1
        layers += [nn.Conv1d(before, width, 3, stride=2, padding=1), nn.LeakyReLU(0.02), nn.Dropout(dropout)]
    layers += [nn.Flatten(), nn.Linear(width, width), nn.LeakyReLU(0.02), nn.Dropout(dropout), nn.Linear(width, out)]
    return nn.Sequential(*layers)


def levelled(audio: Tensor) -> Tensor:
    """(N, 16, 29) windows of a whole sound, each band from its mean in units of its spread: microphone and loudness
    of another recording drop out. A silent band stays near 0."""
    mean, spread = audio.mean((0, 1)), audio.std((0, 1))
    return (audio - mean) / (spread + SILENT)


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
