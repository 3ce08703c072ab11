"""Seeded random files of every network of the paper preset, under their published names; layouts as published."""

from pathlib import Path

import torch
from torch import nn

from models.arcface import IResNet
from models.deca import DECA
from models.gaze360 import Gaze360
from models.inception import FIDInception
from models.vgg import VGG19
from pipeline.manifest import read_manifest
from tests.checkpoints_for_tests import write_fan, write_s3fd
from tests.test_deepspeech import graph, weights
from tests.test_metrics import alexnet_trunk


def write_networks(folder: Path) -> None:
    """Write them all; each adapter's own test holds its layout against the published one."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    paths = {name: folder / entry.file for name, entry in read_manifest().items()}
    write_s3fd(paths["s3fd"])
    write_fan(paths["fan"])
    paths["deepspeech"].write_bytes(graph(weights()))
    torch.save({"E_flame": lively(DECA())}, paths["deca"])
    torch.save({"epoch": 1, "state_dict": prefixed(lively(Gaze360())), "best_prec1": 1.0}, paths["gaze360"])
    torch.save(lively(VGG19()), paths["vgg19"])
    torch.save(lively(FIDInception()), paths["inception"])
    torch.save(lively(IResNet(blocks=(3, 4, 14, 3))), paths["arcface"])
    torch.save(alexnet_trunk(), paths["alexnet"])


def lively(network: nn.Module) -> dict[str, torch.Tensor]:
    """Random weights that carry a signal through the layers."""
    for layer in network.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return network.state_dict()


def prefixed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {f"module.{key}": value for key, value in state.items()}
