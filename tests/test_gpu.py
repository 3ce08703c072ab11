"""What a CUDA device computes must be what the processor computes."""

from copy import deepcopy

import numpy as np
import pytest
import skimage.data
import torch

from models.face_mesh import FaceMesh, crop_faces
from pipeline.device import pick_device
from pipeline.portrait import Renderer, load_portrait
from pipeline.replay import Replay
from tests.stores_for_tests import write_clip
from tests.test_generator import motion_of
from tests.test_train_stage1 import train

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
WIDTHS = {"pose": 6, "expression": 50, "gaze": 2, "position": 3}


def test_auto_picks_the_gpu():
    assert pick_device("auto").type == "cuda"


def test_a_portrait_trained_on_the_gpu_renders_the_same_on_the_processor(tmp_path):
    path = train(tmp_path, write_clip(tmp_path / "clip"), device="cuda")
    motion = motion_of(WIDTHS, 3)
    on_cpu, on_gpu = (
        Renderer(load_portrait(path, torch.device(name))).pictures({k: value.to(name) for k, value in motion.items()})
        for name in ("cpu", "cuda")
    )
    assert np.abs(on_cpu.astype(int) - on_gpu).mean() < 2  # grey levels, bfloat16 on one or both


def test_the_face_mesh_agrees_to_a_tenth_of_a_pixel(face_mesh_weights):
    image = torch.from_numpy(skimage.data.astronaut()).permute(2, 0, 1)[None] / 255
    box = torch.tensor([[222.0, 116.0, 150.0, 0.0]])
    mesh = FaceMesh(face_mesh_weights[0])
    on_cpu = mesh(crop_faces(image, box)).landmarks
    on_gpu = mesh.cuda()(crop_faces(image.cuda(), box.cuda())).landmarks.cpu()
    assert (on_cpu - on_gpu)[..., :2].abs().max() < 0.1


def test_a_replay_leaves_the_gradients_that_a_plain_call_leaves():
    network = torch.nn.Linear(3, 2).cuda()

    def gradients(x, scale, of=network):
        of.zero_grad(set_to_none=True)
        loss = (scale * of(x).square()).sum()
        loss.backward()
        return loss.detach()

    replay = Replay(gradients)
    for _ in range(3):
        inputs = {"x": torch.randn(5, 3, device="cuda"), "scale": torch.rand(5, 1, device="cuda")}
        plain = deepcopy(network)
        torch.testing.assert_close(replay(**inputs), gradients(**inputs, of=plain))
        torch.testing.assert_close(network.weight.grad, plain.weight.grad)
        network.weight.data += 0.1  # a training step: the next replay sees it


def test_a_replay_takes_other_shapes_than_the_first():
    replay = Replay(lambda x: 2 * x)
    for count in (5, 3, 5):
        x = torch.randn(count, device="cuda")
        torch.testing.assert_close(replay(x=x), 2 * x)
