import pytest
import torch
import torch.nn.functional as F

from models.errors import WeightsError
from models.tflite_graph import FixedSlope, TFLiteGraph


def test_a_batch_gives_what_its_images_give_alone(face_mesh_weights):
    graph = TFLiteGraph(face_mesh_weights[1])
    images = torch.rand(3, 3, 128, 128)
    together = graph(images)
    for name, values in together.items():
        alone = torch.cat([graph(image[None])[name] for image in images])
        assert torch.allclose(values, alone, atol=1e-3), name


def test_every_constant_moves_with_the_module(face_mesh_weights):
    for path, size in zip(face_mesh_weights, (192, 128), strict=True):
        outputs = TFLiteGraph(path).to("meta")(torch.zeros(2, 3, size, size, device="meta"))
        assert all(values.is_meta and len(values) == 2 for values in outputs.values())


def test_there_is_nothing_to_train(face_mesh_weights):
    assert not list(TFLiteGraph(face_mesh_weights[0]).parameters())


def test_inner_tensors_are_returned_by_name(face_mesh_weights):
    graph = TFLiteGraph(face_mesh_weights[0], keep=["p_re_lu_8"])
    assert graph(torch.rand(1, 3, 192, 192))["p_re_lu_8"].shape == (1, 64, 24, 24)
    with pytest.raises(WeightsError, match="no tensor named nothing"):
        TFLiteGraph(face_mesh_weights[0], keep=["nothing"])


def test_nothing_is_computed_behind_the_values_asked_for(face_mesh_weights):
    graph = TFLiteGraph(face_mesh_weights[0], keep=["p_re_lu_2", "p_re_lu_8"])
    ran = []
    for step in graph.steps:
        step.register_forward_hook(lambda step, *_: ran.append(step))
    image = torch.rand(1, 3, 192, 192)
    everything = graph(image)
    assert ran == list(graph.steps)
    ran.clear()
    some = graph(image, ["p_re_lu_8", "p_re_lu_2"])
    assert list(some) == ["p_re_lu_8", "p_re_lu_2"]
    assert all(torch.equal(values, everything[name]) for name, values in some.items())
    assert len(ran) < len(graph.steps) / 4
    ran.clear()
    (mesh,) = graph(image, ["output_mesh_identity"]).values()  # one of the last, past the branches of lips and eyes
    assert torch.equal(mesh, everything["output_mesh_identity"])
    assert len(ran) < len(graph.steps) / 3 and graph.steps[-1] not in ran


def test_layers_that_mix_channels_alone_learn_as_convolutions_do(face_mesh_weights):
    graph = TFLiteGraph(face_mesh_weights[0])
    image = torch.rand(1, 3, 192, 192, requires_grad=True)
    pixelwise = [step for step in graph.steps if getattr(step, "per_pixel", False)]
    assert len(pixelwise) > 50
    (gradient,) = torch.autograd.grad(graph(image)["output_lips"].sum(), image)
    for step in pixelwise:
        step.per_pixel = False
    (expected,) = torch.autograd.grad(graph(image)["output_lips"].sum(), image)
    assert torch.allclose(gradient, expected, atol=1e-4 * expected.abs().max().item())


def test_an_unknown_operator_is_refused_by_name(face_mesh_weights, tmp_path):
    strange = tmp_path / "strange.tflite"
    strange.write_bytes(
        face_mesh_weights[0].read_bytes().replace(b"TransformTensorBilinear", b"TransformTensorNonsense")
    )
    with pytest.raises(WeightsError, match=r"strange\.tflite: operator TransformTensorNonsense is not supported"):
        TFLiteGraph(strange)


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_called_damaged(face_mesh_weights, tmp_path, part):
    whole = face_mesh_weights[0].read_bytes()
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(WeightsError, match=r"^.*damaged\.tflite: damaged TensorFlow Lite network; delete it"):
        TFLiteGraph(damaged)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "page.tflite").write_text("<html>404 not found</html>")
    with pytest.raises(WeightsError, match=r"page\.tflite: not a TensorFlow Lite network"):
        TFLiteGraph(tmp_path / "page.tflite")


def test_the_fixed_slope_has_the_gradient_of_prelu():
    x = torch.randn(2, 5, 4, 3, dtype=torch.double, requires_grad=True)
    slope = torch.rand(5, dtype=torch.double) * 3 - 1
    weights = torch.randn_like(x)
    (expected,) = torch.autograd.grad((F.prelu(x, slope) * weights).sum(), x)
    (got,) = torch.autograd.grad((FixedSlope.apply(x, slope) * weights).sum(), x)
    assert torch.allclose(got, expected)
