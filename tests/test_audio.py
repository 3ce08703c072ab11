"""The audio nets hold AD-NeRF's weights and compute what it does, written out here with functional operators."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from models.audio import AudioAttention, AudioNet, neighbours

AUDIO_NET = {  # AD-NeRF's state dict at 32 outputs
    "encoder_conv.0": (32, 29, 3),
    "encoder_conv.2": (32, 32, 3),
    "encoder_conv.4": (64, 32, 3),
    "encoder_conv.6": (64, 64, 3),
    "encoder_fc1.0": (64, 64),
    "encoder_fc1.2": (32, 64),
}
AUDIO_ATTENTION = {
    "attentionConvNet.0": (16, 32, 3),
    "attentionConvNet.2": (8, 16, 3),
    "attentionConvNet.4": (4, 8, 3),
    "attentionConvNet.6": (2, 4, 3),
    "attentionConvNet.8": (1, 2, 3),
    "attentionNet.0": (8, 8),
}


def published(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """A seeded state dict of that layout."""
    rng = torch.Generator().manual_seed(0)
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = torch.randn(shape, generator=rng) * 0.3
        state[f"{name}.bias"] = torch.randn(shape[0], generator=rng) * 0.3
    return state


def audio_net(state: dict[str, torch.Tensor], windows: torch.Tensor) -> torch.Tensor:
    x = windows.permute(0, 2, 1)
    for layer in (0, 2, 4, 6):
        name = f"encoder_conv.{layer}"
        x = F.leaky_relu(F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2, padding=1), 0.02)
    x = F.leaky_relu(x[:, :, 0] @ state["encoder_fc1.0.weight"].T + state["encoder_fc1.0.bias"], 0.02)
    return x @ state["encoder_fc1.2.weight"].T + state["encoder_fc1.2.bias"]


def audio_attention(state: dict[str, torch.Tensor], vectors: torch.Tensor) -> torch.Tensor:
    """One frame: (8, 32) -> (32,)."""
    x = vectors.T[None]
    for layer in (0, 2, 4, 6, 8):
        name = f"attentionConvNet.{layer}"
        x = F.leaky_relu(F.conv1d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=1), 0.02)
    logits = state["attentionNet.0.weight"] @ x.view(8) + state["attentionNet.0.bias"]
    weights = logits.exp() / logits.exp().sum()
    return sum(weight * vector for weight, vector in zip(weights, vectors, strict=True))


@pytest.fixture
def windows():
    return torch.from_numpy(np.random.default_rng(1).normal(size=(5, 16, 29)).astype(np.float32))


@pytest.fixture
def vectors():
    return torch.from_numpy(np.random.default_rng(2).normal(size=(4, 8, 32)).astype(np.float32))


@pytest.mark.parametrize(
    ("network", "shapes", "count"), [(AudioNet, AUDIO_NET, 30720), (AudioAttention, AUDIO_ATTENTION, 2149)]
)
def test_a_network_holds_the_published_parameters_and_no_others(network, shapes, count):
    network = network()
    assert network.load_state_dict(published(shapes), strict=True)
    assert sum(parameter.numel() for parameter in network.parameters()) == count


def test_audio_net_computes_what_ad_nerf_does(windows):
    state, network = published(AUDIO_NET), AudioNet(out=32)
    network.load_state_dict(state)
    torch.testing.assert_close(network(windows), audio_net(state, windows))


def test_a_batch_of_one_keeps_its_axis(windows):
    assert AudioNet(out=76)(windows[:1]).shape == (1, 76)
    assert AudioNet(out=1)(windows[:1]).shape == (1, 1)


def test_attention_computes_what_ad_nerf_does(vectors):
    state, network = published(AUDIO_ATTENTION), AudioAttention(dim=32, window=8)
    network.load_state_dict(state)
    expected = torch.stack([audio_attention(state, frame) for frame in vectors])
    torch.testing.assert_close(network(vectors), expected)
    torch.testing.assert_close(network(vectors[1]), expected[1])
    assert network(vectors[:1]).shape == (1, 32)


def test_attention_is_a_weighted_mean(vectors):
    smooth = AudioAttention()(vectors)
    assert (smooth <= vectors.amax(1)).all()
    assert (smooth >= vectors.amin(1)).all()
    torch.testing.assert_close(AudioAttention()(vectors[:, :1].expand(-1, 8, -1)), vectors[:, 0])


def test_both_networks_learn(windows):
    network, attention = AudioNet(), AudioAttention()
    vectors = network(neighbours(windows, torch.tensor([2])).flatten(0, 1)).unflatten(0, (1, 8))
    attention(vectors).square().sum().backward()
    for parameter in (*network.parameters(), *attention.parameters()):
        assert parameter.grad.isfinite().all()
    assert network.encoder_conv[0].weight.grad.abs().sum() > 0


def test_a_frame_has_four_before_it_and_three_after():
    audio = torch.arange(1.0, 21).view(20, 1, 1).expand(20, 16, 29)
    frames = neighbours(audio, torch.tensor([10, 4, 16]))
    assert frames.shape == (3, 8, 16, 29)
    numbers = frames[..., 0, 0] - 1
    assert numbers.tolist() == [list(range(6, 14)), list(range(8)), list(range(12, 20))]


def test_beyond_the_ends_the_windows_are_zero():
    """Zero windows, not zero vectors: the network's answer to silence is what attention sees there."""
    audio = torch.arange(1.0, 6).view(5, 1, 1).expand(5, 16, 29)
    numbers = neighbours(audio, torch.tensor([0, 4, 2]))[..., 7, 3]
    assert numbers.tolist() == [
        [0, 0, 0, 0, 1, 2, 3, 4],
        [1, 2, 3, 4, 5, 0, 0, 0],
        [0, 0, 1, 2, 3, 4, 5, 0],
    ]
