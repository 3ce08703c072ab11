"""Identity networks compute what insightface's do, and faces are aligned to its template."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import map_coordinates

from models.arcface import align_face, five_points, load_arcface
from models.errors import WeightsError

DEPTHS = {"iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}


def layout(blocks) -> dict[str, tuple]:
    """Keys and shapes of insightface's `backbone.pth`."""
    shapes = {"conv1.weight": (64, 3, 3, 3), **norm("bn1", 64), "prelu.weight": (64,)}
    before = 64
    for stage, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for i in range(count):
            name = f"layer{stage}.{i}"
            shapes |= {**norm(f"{name}.bn1", before), f"{name}.conv1.weight": (width, before, 3, 3)}
            shapes |= {**norm(f"{name}.bn2", width), f"{name}.prelu.weight": (width,)}
            shapes |= {f"{name}.conv2.weight": (width, width, 3, 3), **norm(f"{name}.bn3", width)}
            if i == 0:
                shapes |= {f"{name}.downsample.0.weight": (width, before, 1, 1), **norm(f"{name}.downsample.1", width)}
            before = width
    return shapes | {**norm("bn2", 512), "fc.weight": (512, 25088), "fc.bias": (512,), **norm("features", 512)}


def norm(name: str, width: int) -> dict[str, tuple]:
    parts = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (width,)) | {"num_batches_tracked": ()}
    return {f"{name}.{part}": shape for part, shape in parts.items()}


def constant(blocks) -> dict[str, torch.Tensor]:
    """A state whose tensors repeat one number, so that its file is small."""
    return {key: torch.tensor(0.5).expand(shape) for key, shape in layout(blocks).items()}


def random(blocks) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    state = {}
    for key, shape in layout(blocks).items():
        if len(shape) > 1:
            state[key] = torch.randn(shape, generator=made) * np.prod(shape[1:]) ** -0.5
        else:
            state[key] = torch.rand(shape, generator=made) + 0.5 if "bias" not in key else torch.randn(shape)
    return state


def embed(state, faces):
    """insightface's forward pass, from the names of the keys."""

    def bn(name, x):
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-5)

    x = F.prelu(bn("bn1", F.conv2d(faces, state["conv1.weight"], padding=1)), state["prelu.weight"])
    for name in dict.fromkeys(key.rpartition(".conv1")[0] for key in state if key.endswith(".conv1.weight")):
        stride = 2 if name.endswith(".0") else 1
        y = F.conv2d(bn(f"{name}.bn1", x), state[f"{name}.conv1.weight"], padding=1)
        y = F.prelu(bn(f"{name}.bn2", y), state[f"{name}.prelu.weight"])
        y = bn(f"{name}.bn3", F.conv2d(y, state[f"{name}.conv2.weight"], stride=stride, padding=1))
        if stride == 2:
            x = bn(f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=2))
        x = x + y
    return bn("features", F.linear(bn("bn2", x).flatten(1), state["fc.weight"], state["fc.bias"]))


def test_embeddings_are_insightfaces(tmp_path):
    state = random(DEPTHS["iresnet50"])
    torch.save(state, tmp_path / "backbone.pth")
    faces = torch.rand(2, 3, 112, 112) * 2 - 1
    with torch.no_grad():
        found, expected = load_arcface(tmp_path / "backbone.pth")(faces), embed(state, faces)
    assert found.shape == (2, 512)
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "entries", "parameters"), [("iresnet50", 475, 43590848), ("iresnet100", 925, 65156160)]
)
def test_both_depths_are_told_apart_with_or_without_a_prefix(tmp_path, name, entries, parameters):
    state = constant(DEPTHS[name])
    assert len(state) == entries
    state = {f"module.{key}": value for key, value in state.items() if "num_batches" not in key}
    torch.save(state, tmp_path / "model.pt")
    network = load_arcface(tmp_path / "model.pt")
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters
    assert not network.training and not any(parameter.requires_grad for parameter in network.parameters())
    assert (network.fc.weight == 0.5).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.weight"), r"net\.pth: lacks features.weight"),
        (lambda state: state.update({"head.weight": torch.ones(1)}), r"net\.pth: .* has head.weight too many"),
        (lambda state: state.update({"fc.bias": torch.ones(256)}), r"net\.pth: fc.bias is \(256,\), expected \(512,\)"),
        (lambda state: state.clear(), r"net\.pth: has 0 blocks in layer3"),
    ],
)
def test_another_networks_file_is_refused(tmp_path, change, message):
    state = constant(DEPTHS["iresnet50"])
    change(state)
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=message):
        load_arcface(tmp_path / "net.pth")


# --- .onnx: a minimal protobuf encoder for graphs of three operations


def field(number: int, value) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    return bytes([value & 127 | 128]) + varint(value >> 7) if value > 127 else bytes([value])


def node(operation: str, inputs: list[str], output: str) -> bytes:
    return field(1, b"".join(field(1, name) for name in inputs) + field(2, output) + field(4, operation))


def value_info(name: str, shape) -> bytes:
    dims = b"".join(field(1, field(1, size) if isinstance(size, int) else field(2, size)) for size in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))  # 1: float


MATRIX = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
INSIDE = field(9, MATRIX.tobytes())
OUTSIDE = field(13, field(1, "location") + field(2, "matrix.bin")) + field(14, 1)  # 1: external data


def onnx(shape=("N", 3, 112, 112), operation="MatMul", data=INSIDE) -> bytes:
    """A network whose embedding is the face's mean colour times MATRIX."""
    nodes = node("GlobalAveragePool", ["face"], "mean") + node("Flatten", ["mean"], "colour")
    nodes += node(operation, ["colour", "matrix"], "embedding")
    matrix = field(1, 3) + field(1, 8) + field(2, 1) + field(8, "matrix") + data
    ends = field(11, value_info("face", shape)) + field(12, value_info("embedding", ("N", 8)))
    graph = nodes + field(2, "graph") + field(5, matrix) + ends
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17))  # format 8, operations of version 17


@pytest.mark.parametrize("batch", ["N", 1])
def test_an_onnx_network_takes_any_number_of_faces(tmp_path, batch):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx(shape=(batch, 3, 112, 112)))
    faces = torch.rand(3, 3, 112, 112, requires_grad=True) * 2 - 1
    found = load_arcface(path)(faces)
    assert found.shape == (3, 8)
    assert torch.allclose(found, faces.mean((2, 3)) @ torch.from_numpy(MATRIX), atol=1e-5)


@pytest.mark.parametrize("shape", [("N", 3, 128, 128), (4, 3, 112, 112), ("N", 3, "H", "W"), ("N", 3, 112, 112, 1)])
def test_an_onnx_network_for_other_images_is_refused(tmp_path, shape):
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx(shape=shape))
    with pytest.raises(WeightsError, match=r"net\.onnx: takes"):
        load_arcface(path)


@pytest.mark.parametrize("content", [b"", b"<html>", onnx()[:150], onnx(operation="SomebodysOwn")])
def test_a_damaged_onnx_file_is_refused(tmp_path, content):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"net\.onnx: damaged"):
        load_arcface(path)


def test_a_missing_onnx_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"net\.onnx: no such file"):
        load_arcface(tmp_path / "net.onnx")


def test_weights_outside_an_onnx_file_are_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "matrix.bin").write_bytes(MATRIX.tobytes())
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx(data=OUTSIDE))
    with pytest.raises(WeightsError, match=r"net\.onnx: damaged, or no ONNX file that stands alone"):
        load_arcface(path)


# --- alignment

TEMPLATE = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]


def test_the_five_points_are_eyes_nose_and_mouth():
    landmarks = np.random.default_rng(0).normal(size=(68, 2))
    left, right = landmarks[[36, 37, 38, 39, 40, 41]].mean(0), landmarks[[42, 43, 44, 45, 46, 47]].mean(0)
    assert np.allclose(five_points(landmarks), [left, right, landmarks[30], landmarks[48], landmarks[54]])


def test_the_face_is_moved_to_the_template_by_least_squares():
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (160, 200, 3), dtype=np.uint8)
    points = np.array(TEMPLATE) @ [[0.9, 0.5], [-0.5, 0.9]] + (90, -30) + draw.normal(size=(5, 2)) * 3  # not quite one

    # x' = a x - b y + c, y' = b x + a y + d is linear in a, b, c, d
    rows = [((x, -y, 1, 0), (y, x, 0, 1)) for x, y in points]
    a, b, c, d = np.linalg.lstsq(np.reshape(rows, (10, 4)), np.ravel(TEMPLATE), rcond=None)[0]
    y, x = np.mgrid[:112, :112]
    back = np.linalg.inv([[a, -b], [b, a]]) @ np.stack([x.ravel() - c, y.ravel() - d])
    expected = [
        map_coordinates(image[..., i].astype(float), back[::-1], order=1, mode="grid-constant") for i in (0, 1, 2)
    ]
    expected = np.stack(expected, -1).reshape(112, 112, 3)

    found = align_face(image, points)
    assert found.dtype == np.uint8
    assert (expected == 0).all(2).any()  # some of it lies outside the image
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("points", [np.ones((5, 2)), np.full((5, 2), np.nan)])
def test_points_that_are_no_face_are_refused(points):
    with pytest.raises(ValueError, match="five points"):
        align_face(np.zeros((20, 20, 3), np.uint8), points)
