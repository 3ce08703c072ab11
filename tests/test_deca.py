"""DECA's encoder and crop against its published layout, a ResNet-50 of plain operations and scikit-image."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage.transform import estimate_transform, warp

from models.deca import crop_face, crop_faces, load_deca
from models.errors import WeightsError
from tests.resnet_for_tests import convolution, convolved, random_entry

BLOCKS = [3, 4, 6, 3]
SLICES = {  # of the encoder's 236 outputs
    "shape": (0, 100),
    "texture": (100, 150),
    "expression": (150, 200),
    "pose": (200, 206),
    "cam": (206, 209),
    "light": (209, 236),
}


def published_layout(outputs=236):
    """Name -> shape of every entry of `E_flame`."""
    shapes = convolution("encoder.conv1", 64, 3, 7, "encoder.bn1")
    inside = 64
    for stage, count in enumerate(BLOCKS):
        width = 64 * 2**stage
        for block in range(count):
            name = f"encoder.layer{stage + 1}.{block}"
            shapes |= convolution(f"{name}.conv1", width, inside, 1, f"{name}.bn1")
            shapes |= convolution(f"{name}.conv2", width, width, 3, f"{name}.bn2")
            shapes |= convolution(f"{name}.conv3", 4 * width, width, 1, f"{name}.bn3")
            if block == 0:
                shapes |= convolution(f"{name}.downsample.0", 4 * width, inside, 1, f"{name}.downsample.1")
            inside = 4 * width
    shapes |= {"layers.0.weight": (1024, 2048), "layers.0.bias": (1024,)}
    return shapes | {"layers.2.weight": (outputs, 1024), "layers.2.bias": (outputs,)}


def empty_state(outputs=236):
    """A state dict of zeros that takes no room on the disk."""
    return {name: torch.zeros(()).expand(shape) for name, shape in published_layout(outputs).items()}


@pytest.fixture(scope="module")
def state():
    generator = torch.Generator().manual_seed(1)
    return {name: random_entry(name, shape, generator) for name, shape in published_layout().items()}


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("deca") / "deca_model.tar"
    torch.save({"E_flame": state, "E_detail": empty_state(128), "D_detail": {}}, path)
    return path


@pytest.fixture(scope="module")
def net(checkpoint):
    return load_deca(checkpoint)


@pytest.fixture(scope="module")
def images():
    return torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(2))


def resnet50(state, x):
    """Every layer written out; the stride of a bottleneck is on its 3x3 convolution."""

    layer = partial(convolved, state, "encoder")

    x = F.max_pool2d(layer(x, "conv1", "bn1", stride=2, padding=3).relu(), 3, stride=2, padding=1)
    for stage, count in enumerate(BLOCKS):
        for block in range(count):
            name = f"layer{stage + 1}.{block}"
            stride = 2 if stage > 0 and block == 0 else 1
            y = layer(x, f"{name}.conv1", f"{name}.bn1", padding=0).relu()
            y = layer(y, f"{name}.conv2", f"{name}.bn2", stride, padding=1).relu()
            y = layer(y, f"{name}.conv3", f"{name}.bn3", padding=0)
            shortcut = layer(x, f"{name}.downsample.0", f"{name}.downsample.1", stride, padding=0) if block == 0 else x
            x = (y + shortcut).relu()
    return F.avg_pool2d(x, 7, stride=1).flatten(1)


def test_the_written_layout_is_the_published_one():
    shapes = published_layout()
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    assert len(shapes) == 322
    assert sum(name.startswith("encoder.") for name in shapes) == 318
    assert sum(np.prod(shape) for name, shape in shapes.items() if not name.endswith(statistics)) == 25_848_108


def test_outputs_equal_a_resnet_of_plain_operations(net, state, images):
    hidden = F.linear(resnet50(state, images), state["layers.0.weight"], state["layers.0.bias"]).relu()
    wanted = F.linear(hidden, state["layers.2.weight"], state["layers.2.bias"])
    found = net(images)
    assert list(found) == list(SLICES)
    for name, (start, stop) in SLICES.items():
        part = wanted[:, start:stop]
        assert (found[name].flatten(1) - part).abs().max() < 1e-4 * part.std(), name
        assert (part[0] - part[1]).abs().max() > 1e-2 * part.std(), "the images should matter"
    assert found["light"].shape == (2, 9, 3)


def test_the_network_is_frozen_but_passes_gradients_to_the_images(net, images):
    images = images[:1].clone().requires_grad_()
    net(images)["pose"].square().sum().backward()
    assert (images.grad != 0).float().mean() > 0.9
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())


def test_autocast_does_not_coarsen_the_outputs(net, images):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        coarse = net(images.bfloat16())
    with torch.no_grad():
        fine = net(images.bfloat16().float())
    assert all(torch.equal(coarse[name], fine[name]) for name in fine)


@pytest.mark.parametrize("shape", [(1, 3, 256, 256), (1, 1, 224, 224), (3, 224, 224)])
def test_another_size_is_refused(net, shape):
    with pytest.raises(ValueError, match=r"DECA takes \(B, 3, 224, 224\)"):
        net(torch.zeros(shape))


def test_prefix_and_missing_counters_are_tolerated(net, state, tmp_path, images):
    path = tmp_path / "deca_model.tar"
    renamed = {f"module.{name}": value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save({"E_flame": renamed}, path)
    with torch.no_grad():
        assert torch.equal(load_deca(path)(images[:1])["pose"], net(images[:1])["pose"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state.pop("encoder.layer3.5.conv2.weight"),
            r"lacks encoder\.layer3\.5\.conv2\.weight; has nothing",
        ),
        (lambda state: state.update({"encoder.fc.bias": torch.ones(1000)}), r"lacks nothing; has encoder\.fc\.bias"),
        (lambda state: state.update(empty_state(128)), r"layers\.2\.weight is \(128, 1024\), expected \(236, 1024\)"),
    ],
)
def test_another_networks_layout_is_named(tmp_path, change, message):
    path = tmp_path / "deca_model.tar"
    state = empty_state()
    change(state)
    torch.save({"E_flame": state}, path)
    with pytest.raises(WeightsError, match=message):
        load_deca(path)


def test_a_file_without_the_coarse_encoder_is_refused(tmp_path):
    path = tmp_path / "other.tar"
    torch.save({"E_detail": empty_state(128)}, path)
    with pytest.raises(WeightsError, match=r"other\.tar: has no 'E_flame'"):
        load_deca(path)


def reference_crop(image, landmarks):
    """DECA's data loader in scikit-image: (H, W, 3) and (68, 2), float64 -> (224, 224, 3)."""
    left, top, right, bottom = *landmarks.min(0), *landmarks.max(0)
    size = int((right - left + bottom - top) / 2 * 1.1 * 1.25)
    x, y = (left + right) / 2, (top + bottom) / 2
    corners = [[x - size / 2, y - size / 2], [x - size / 2, y + size / 2], [x + size / 2, y - size / 2]]
    transform = estimate_transform("similarity", np.array(corners), np.array([[0, 0], [0, 223], [223, 0]]))
    return warp(image, transform.inverse, output_shape=(224, 224))


FACES = {  # low and high end of the landmarks in an image 300 wide and 260 high
    "inside": ((90.3, 70.2), (201.7, 191.0)),
    "small": ((100, 100), (123.4, 132.7)),
    "leaving at the top and left": ((-20.5, -31.2), (80.9, 90.4)),
    "leaving at the bottom and right": ((180.1, 140.7), (320.6, 300.2)),
    "larger than the image": ((-40, -30), (350, 280)),
}


@pytest.fixture(scope="module")
def picture():
    """(3, 260, 300) noise, the hardest picture to sample rightly."""
    return torch.rand(3, 260, 300, generator=torch.Generator().manual_seed(3))


def face(name):
    """68 random landmarks that fill a box of FACES."""
    low, high = np.array(FACES[name])
    share = np.random.default_rng(4).random((68, 2))
    share[0], share[1] = 0, 1
    return low + share * (high - low)


@pytest.mark.parametrize("name", FACES)
def test_the_crop_is_that_of_the_original_data_loader(picture, name):
    wanted = reference_crop(picture.permute(1, 2, 0).double().numpy(), face(name)).transpose(2, 0, 1)
    found = crop_face(picture, face(name))
    assert found.dtype == picture.dtype
    assert np.abs(found.numpy() - wanted).max() < 1e-6


def test_crops_of_a_batch_are_the_crops_of_its_images(picture):
    images = torch.stack([picture, picture.flip(2)])
    landmarks = torch.from_numpy(np.stack([face("inside"), face("leaving at the top and left")]))
    crops = crop_faces(images, landmarks)
    assert torch.equal(crops[0], crop_face(images[0], landmarks[0]))
    assert torch.equal(crops[1], crop_face(images[1], landmarks[1].numpy()))


def test_the_crop_follows_the_landmarks(picture):
    moved = crop_face(picture.roll((5, 9), (1, 2)), face("small") + np.array([9, 5]))
    torch.testing.assert_close(moved, crop_face(picture, face("small")), rtol=0, atol=1e-6)


def test_gradients_of_the_crop_reach_only_the_pixels_under_it(picture):
    picture = picture.clone().requires_grad_()
    crop_face(picture, face("small")).sum().backward()
    assert (picture.grad[:, 110:120, 105:118] > 0).all()
    assert (picture.grad[:, :, 200:] == 0).all()


def test_landmarks_that_do_not_fit_the_images_are_refused(picture):
    with pytest.raises(ValueError, match=r"landmarks are \(1, 5, 2\), expected \(1, 68, 2\)"):
        crop_face(picture, np.zeros((5, 2)))
