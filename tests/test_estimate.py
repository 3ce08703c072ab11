from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from pipeline import estimate
from pipeline.portrait import build_generator
from tests.test_generator import motion_of
from tests.test_train_stage1 import LAYOUT

ROOT = Path(__file__).parent.parent

PAPER = {"size": 256, "width": 128, "layers": 8, "channels": 256, "blocks": 6, "fine_blocks": 0}


def test_the_papers_generator_costs_34_billion_multiply_adds_folded():
    assert abs(estimate.multiply_adds(PAPER) / 1e9 - 34.5) < 0.1


def test_a_slow_preset_is_announced_and_a_quick_one_is_not(capsys, monkeypatch):
    monkeypatch.setattr(estimate.shutil, "which", lambda name: None)
    monkeypatch.setattr(estimate, "matrix_rate", lambda cores: 1e11)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    estimate.announce_duration(config, cores=2)
    said = capsys.readouterr().out
    assert "hours" in said and "workflow/presets/demo.yaml" in said
    demo = yaml.safe_load((ROOT / "workflow/presets/demo.yaml").read_text())
    for section in ("train_stage1", "train_stage2"):
        config[section]["schedule"] |= demo[section]["schedule"]
    config["model"] |= demo["model"]
    estimate.announce_duration(config, cores=2)
    assert capsys.readouterr().out == ""


def test_a_machine_with_a_gpu_that_is_told_not_to_use_it_is_slow_too(capsys, monkeypatch):
    monkeypatch.setattr(estimate.shutil, "which", lambda name: "nvidia-smi")
    monkeypatch.setattr(estimate, "matrix_rate", lambda cores: 1e11)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    estimate.announce_duration(config, cores=2)
    assert capsys.readouterr().out == ""
    estimate.announce_duration(config | {"device": "cpu"}, cores=2)
    assert "hours" in capsys.readouterr().out


@pytest.mark.parametrize("fine_blocks", [0, 2])
def test_the_estimate_counts_what_the_generator_computes(fine_blocks):
    layout = PAPER | {"size": 64, "fine_blocks": fine_blocks}
    generator = build_generator(replace(LAYOUT, **layout)).eval()
    motion = motion_of({"pose": 6, "expression": 50, "gaze": 2, "position": 3}, 1)
    with FlopCounterMode(display=False) as counted:
        generator(motion, torch.zeros(1, LAYOUT.code))
    assert counted.get_total_flops() / 2 == pytest.approx(estimate.multiply_adds(layout), rel=0.1)


def test_the_rate_grows_with_the_cores_that_there_are():
    one = estimate.matrix_rate(1)
    assert 1e9 < one < 1e12
    assert estimate.matrix_rate(10**6) > one or len(estimate.os.sched_getaffinity(0)) == 1
