"""VGG-19 gives torchvision's features, by name, as deep as asked for."""

import pytest
import torch
import torch.nn.functional as F

from models.errors import WeightsError
from models.vgg import load_vgg19

WIDTHS = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
STAGE_STARTS = (0, 5, 10, 19, 28)  # indices of the first convolution of each stage in `features`
CLASSIFIER = {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}


def official_state() -> dict[str, torch.Tensor]:
    """`vgg19-dcbb9e9d.pth` with random numbers; the classifier repeats one, so that the file stays small."""
    made = torch.Generator().manual_seed(0)
    state, before = {}, 3
    for start, widths in zip(STAGE_STARTS, WIDTHS, strict=True):
        for i, width in enumerate(widths):
            scale = (2 / (9 * before)) ** 0.5
            state[f"features.{start + 2 * i}.weight"] = torch.randn(width, before, 3, 3, generator=made) * scale
            state[f"features.{start + 2 * i}.bias"] = torch.randn(width, generator=made) * 0.1
            before = width
    for index, shape in CLASSIFIER.items():
        state[f"classifier.{index}.weight"] = torch.ones(1).expand(shape)
        state[f"classifier.{index}.bias"] = torch.ones(shape[0])
    return state


def relus(state, images) -> dict[str, torch.Tensor]:
    """All sixteen outputs."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    x, found = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1), {}
    for stage, (start, widths) in enumerate(zip(STAGE_STARTS, WIDTHS, strict=True), start=1):
        x = x if stage == 1 else F.max_pool2d(x, 2)
        for i in range(len(widths)):
            index = start + 2 * i
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1).relu()
            found[f"relu{stage}_{i + 1}"] = x
    return found


@pytest.fixture(scope="module")
def state():
    return official_state()


@pytest.fixture(scope="module")
def network(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "vgg19.pth"
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return load_vgg19(path)


@pytest.fixture
def images():
    return torch.rand(2, 3, 40, 32)


def test_every_layer_is_torchvisions(network, state, images):
    expected = relus(state, images)
    before = images.clone()
    found = network(images, tuple(expected))
    assert found.keys() == expected.keys()
    assert max((found[name] - expected[name]).abs().max() for name in expected) < 1e-4
    assert torch.equal(images, before)


def test_the_usual_layers_are_the_first_of_each_stage(network, images):
    assert list(network(images)) == ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]


def test_nothing_runs_below_the_deepest_layer(network, images):
    ran = []
    handles = [layer.register_forward_hook(lambda layer, *_: ran.append(layer)) for layer in network.features]
    network(images, layers=("relu2_2", "relu1_1"))
    for handle in handles:
        handle.remove()
    assert ran == list(network.features[:9])


def test_gradients_reach_the_images_but_not_the_weights(network, images):
    images.requires_grad_()
    sum(value.mean() for value in network(images).values()).backward()
    assert images.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("layers", "message"), [(("relu1_1", "relu1_3"), "no layer relu1_3"), ((), "no layer asked")])
def test_unknown_layers_are_named(network, images, layers, message):
    with pytest.raises(ValueError, match=message):
        network(images, layers=layers)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("features.34.bias"), r"vgg\.pth: lacks features.34.bias"),
        (lambda state: state.update({"features.37.bias": torch.ones(1)}), r"vgg\.pth: .* features.37.bias too many"),
    ],
)
def test_another_networks_file_is_refused(state, tmp_path, change, message):
    state = {key: torch.ones(1).expand(value.shape) for key, value in state.items()}
    change(state)
    torch.save(state, tmp_path / "vgg.pth")
    with pytest.raises(WeightsError, match=message):
        load_vgg19(tmp_path / "vgg.pth")
