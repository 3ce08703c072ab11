"""Gaze360 against its published layout, a ResNet-18 of plain operations and an LSTM written from its gates."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from models.errors import WeightsError
from models.gaze360 import head_boxes, load_gaze360, prepare_heads, windows
from tests.resnet_for_tests import convolution, convolved, random_entry

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def published_layout():
    """Name, without its `module.` -> shape of every entry."""
    shapes = convolution("base_model.conv1", 64, 3, 7, "base_model.bn1")
    inside = 64
    for stage in range(4):
        width = 64 * 2**stage
        for block in range(2):
            name = f"base_model.layer{stage + 1}.{block}"
            shapes |= convolution(f"{name}.conv1", width, inside, 3, f"{name}.bn1")
            shapes |= convolution(f"{name}.conv2", width, width, 3, f"{name}.bn2")
            if inside != width:
                shapes |= convolution(f"{name}.downsample.0", width, inside, 1, f"{name}.downsample.1")
            inside = width
    shapes |= {"base_model.fc1.weight": (1000, 512), "base_model.fc1.bias": (1000,)}
    shapes |= {"base_model.fc2.weight": (256, 1000), "base_model.fc2.bias": (256,)}
    for layer, width in ((0, 256), (1, 512)):
        for direction in ("", "_reverse"):
            name = f"l{layer}{direction}"
            shapes |= {f"lstm.weight_ih_{name}": (1024, width), f"lstm.weight_hh_{name}": (1024, 256)}
            shapes |= {f"lstm.bias_ih_{name}": (1024,), f"lstm.bias_hh_{name}": (1024,)}
    return shapes | {"last_layer.weight": (3, 512), "last_layer.bias": (3,)}


def write(path, state):
    """A checkpoint as the authors' training script saves it."""
    content = {"epoch": 9, "state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(content | {"best_prec1": np.float64(13.5)}, path)


def empty_state():
    """A state dict of zeros that takes no room on the disk."""
    return {name: torch.zeros(()).expand(shape) for name, shape in published_layout().items()}


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(1)
    return {name: random_entry(name, shape, generator) for name, shape in published_layout().items()}


@pytest.fixture(scope="module")
def net(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("gaze360") / "gaze360_model.pth.tar"
    write(path, state)
    return load_gaze360(path)


@pytest.fixture(scope="module")
def heads():
    """(8, 3, 224, 224): eight heads of different colour and grain."""
    generator = torch.Generator().manual_seed(2)
    colour = torch.randn(8, 3, 1, 1, generator=generator)
    return colour + torch.randn(8, 3, 224, 224, generator=generator)


@pytest.fixture(scope="module")
def features(state, heads):
    """(8, 256), independent of the adapter."""
    hidden = F.linear(resnet18(state, heads), state["base_model.fc1.weight"], state["base_model.fc1.bias"])
    return F.linear(hidden.relu(), state["base_model.fc2.weight"], state["base_model.fc2.bias"])


def resnet18(state, x):
    """Every layer written out."""

    layer = partial(convolved, state, "base_model")

    x = F.max_pool2d(layer(x, "conv1", "bn1", stride=2, padding=3).relu(), 3, stride=2, padding=1)
    for stage in range(4):
        for block in range(2):
            name = f"layer{stage + 1}.{block}"
            halves = stage > 0 and block == 0
            y = layer(x, f"{name}.conv1", f"{name}.bn1", stride=2 if halves else 1).relu()
            y = layer(y, f"{name}.conv2", f"{name}.bn2")
            shortcut = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", 2, padding=0) if halves else x
            x = (y + shortcut).relu()
    return x.mean((2, 3))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_direction(state, name, x):
    """One direction of one layer from its gate equations (gates i, f, g, o): (7, inputs) -> (7, 256)."""
    weight_ih, weight_hh, bias_ih, bias_hh = (
        state[f"lstm.{key}_{name}"].double().numpy() for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = cell = np.zeros(256)
    outputs = []
    for step in x[::-1] if name.endswith("_reverse") else x:
        i, f, g, o = np.split(weight_ih @ step + bias_ih + weight_hh @ hidden + bias_hh, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        hidden = sigmoid(o) * np.tanh(cell)
        outputs.append(hidden)
    return np.stack(outputs[::-1] if name.endswith("_reverse") else outputs)


def gaze_by_hand(state, features):
    """Yaw, pitch and spread from the features (7, 256) of a window."""
    x = features.double().numpy()
    for layer in ("l0", "l1"):
        x = np.concatenate([lstm_direction(state, layer, x), lstm_direction(state, f"{layer}_reverse", x)], 1)
    values = state["last_layer.weight"].double().numpy() @ x[3] + state["last_layer.bias"].double().numpy()
    return [np.pi * np.tanh(values[0]), np.pi / 2 * np.tanh(values[1]), np.pi * sigmoid(values[2])]


def test_the_written_layout_is_the_published_one():
    shapes = published_layout()
    assert len(shapes) == 142
    assert sum(np.prod(shape) for name, shape in shapes.items() if not name.endswith(STATISTICS)) == 14_576_939


def test_features_equal_a_resnet_of_plain_operations(net, heads, features):
    error = (net.features(heads) - features).abs().max()
    assert error < 1e-4 * features.std()
    assert features.std(0).mean() > 1e-2 * features.std(), "the heads should matter"


def test_gaze_equals_an_lstm_written_from_its_gates(net, state):
    features = torch.randn(16, 7, 256, generator=torch.Generator().manual_seed(3))
    wanted = np.array([gaze_by_hand(state, window) for window in features])
    gaze, spread = net.gaze_of(features)
    assert gaze.shape == (16, 2) and spread.shape == (16, 1)
    error = np.abs(torch.cat([gaze, spread], 1).numpy() - wanted).max(0)
    assert (error < 1e-4 * wanted.std(0)).all()
    backwards = np.array([gaze_by_hand(state, window.flip(0)) for window in features])
    assert (np.abs(backwards - wanted).max(0) > 0.1 * wanted.std(0)).all(), "the order of frames should matter"


@pytest.mark.parametrize("shape", [(2, 7, 3, 224, 224), (2, 21, 224, 224)])
def test_the_gaze_of_windows_is_that_of_their_frames(net, state, heads, features, shape):
    pairs = torch.stack([heads[:7], heads[1:]]).reshape(shape)
    wanted = np.array([gaze_by_hand(state, features[:7]), gaze_by_hand(state, features[1:])])
    found = torch.cat(net(pairs), 1).numpy()
    assert np.abs(found - wanted).max() < 1e-5  # rad
    assert np.abs(wanted[0] - wanted[1]).min() > 1e-3, "the windows should differ"


def test_the_network_is_frozen(net):
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_heads_and_features_of_another_shape_are_refused(net):
    with pytest.raises(ValueError, match=r"Gaze360 takes \(B, 7, 3, 224, 224\)"):
        net(torch.zeros(1, 6, 3, 224, 224))
    with pytest.raises(ValueError, match=r"features are \(1, 5, 256\), expected \(B, 7, 256\)"):
        net.gaze_of(torch.zeros(1, 5, 256))


@pytest.mark.parametrize("best", [torch.tensor(13.5), np.float32(13.5)])
def test_bare_keys_missing_counters_and_any_scalar_are_tolerated(net, state, tmp_path, best):
    path = tmp_path / "gaze360_model.pth.tar"
    bare = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"epoch": 9, "state_dict": bare, "best_prec1": best}, path)
    features = torch.ones(1, 7, 256)
    assert torch.equal(load_gaze360(path).gaze_of(features)[0], net.gaze_of(features)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("base_model.fc2.bias"), r"lacks base_model\.fc2\.bias; has nothing"),
        (lambda state: state.update({"base_model.fc.bias": torch.ones(1000)}), r"nothing; has base_model\.fc\.bias"),
        (
            lambda state: state.update({"last_layer.bias": torch.ones(2)}),
            r"last_layer\.bias is \(2,\), expected \(3,\)",
        ),
    ],
)
def test_another_networks_layout_is_named(tmp_path, change, message):
    path = tmp_path / "gaze360_model.pth.tar"
    state = empty_state()
    change(state)
    write(path, state)
    with pytest.raises(WeightsError, match=message):
        load_gaze360(path)


def test_a_bare_state_dict_is_refused(tmp_path):
    path = tmp_path / "other.pth"
    torch.save(empty_state(), path)
    with pytest.raises(WeightsError, match=r"other\.pth: has no 'state_dict'"):
        load_gaze360(path)


BOXES = np.array([[10.5, 20.5, 90.4, 110.6], [-15.2, -4, 50.5, 61.5], [60, 40, 140.7, 130.2], [30, 30, 400, 420]])


def triangle_resize(image, size):
    """Antialiased bilinear resize from its definition: (h, w, 3) -> (size, size, 3)."""
    for axis in (0, 1):
        scale = image.shape[axis] / size
        centre = (np.arange(size) + 0.5) * scale
        distance = np.abs(np.arange(image.shape[axis]) + 0.5 - centre[:, None]) / max(scale, 1)
        weight = np.maximum(1 - distance, 0)
        image = np.moveaxis(np.tensordot(weight / weight.sum(1, keepdims=True), image, (1, axis)), 0, axis)
    return image


@pytest.mark.parametrize("box", BOXES)
def test_heads_are_cut_at_whole_pixels_and_resized_with_antialiasing(box):
    frame = np.random.default_rng(5).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    left, top, right, bottom = (round(value) for value in box)
    padded = np.pad(frame, ((500, 500), (500, 500), (0, 0)))  # black outside
    cut = padded[500 + top : 500 + bottom, 500 + left : 500 + right]
    found = prepare_heads(frame[None], box[None])[0].permute(1, 2, 0).numpy()
    assert found.dtype == np.float32
    levels = (found * STD + MEAN) * 255
    assert np.abs(levels - triangle_resize(cut.astype(float), 224)).max() < 1.01  # PIL rounds after each axis
    exact = np.asarray(Image.fromarray(cut).resize((224, 224), Image.Resampling.BILINEAR))
    assert np.abs(found - (exact / 255 - MEAN) / STD).max() < 1e-6


def test_any_number_of_frames_can_be_prepared():
    frames = np.random.default_rng(6).integers(0, 256, (len(BOXES), 120, 160, 3), dtype=np.uint8)
    together = prepare_heads(frames, BOXES)
    assert together.shape == (4, 3, 224, 224)
    assert torch.equal(together[2], prepare_heads(frames[2:3], BOXES[2:3])[0])


@pytest.mark.parametrize("box", [[40, 40, 40.4, 90], [40, 40, 30, 90], [np.nan] * 4])
def test_an_empty_box_is_refused(box):
    with pytest.raises(ValueError, match="head box of frame 1 is empty"):
        prepare_heads(np.zeros((2, 120, 160, 3), np.uint8), np.array([[0, 0, 9, 9], box]))


def face(left, top, right, bottom):
    """(1, 68, 2) landmarks that fill a box."""
    share = np.random.default_rng(7).random((68, 2))
    share[0], share[1] = 0, 1
    return np.array([left, top]) + share[None] * np.array([right - left, bottom - top])


def test_a_head_box_reaches_above_the_brows_and_beside_the_ears():
    # The head: 90 to 210 across (ears 10 beyond a face of 100), 40 to 200 down (crown 60 above a face of 100).
    boxes = head_boxes(face(100, 100, 200, 200), 512)
    np.testing.assert_allclose(boxes, [[90 - 18, 40 - 24, 210 + 18, 200 + 24]])


def test_head_boxes_end_at_the_image():
    landmarks = np.concatenate([face(5, 10, 105, 110), face(200, 150, 290, 235)])
    boxes = head_boxes(landmarks, (300, 240))
    assert (boxes[0, :2] == 0).all() and (boxes[0, 2:] < 240).all()
    assert (boxes[1, :2] > 0).all() and boxes[1, 2:].tolist() == [300, 240]


@pytest.mark.parametrize(("fps", "step"), [(25, 3), (30, 3), (29.97, 3), (50, 6), (8, 1), (5, 1)])
def test_a_window_reaches_three_steps_of_an_eighth_second(fps, step):
    assert windows(np.ones(50, bool), fps)[20].tolist() == [20 + step * offset for offset in range(-3, 4)]


def test_frames_beyond_the_clip_or_without_the_person_give_way_to_the_centre():
    valid = np.ones(10, bool)
    valid[5] = False
    found = windows(valid, 8)
    assert found.shape == (10, 7)
    assert found[0].tolist() == [0, 0, 0, 0, 1, 2, 3]
    assert found[4].tolist() == [1, 2, 3, 4, 4, 6, 7]
    assert found[8].tolist() == [8, 6, 7, 8, 9, 8, 8]
    assert windows(valid[:0], 25).shape == (0, 7)
