from pathlib import Path

import yaml

from pipeline import estimate

ROOT = Path(__file__).parent.parent

PAPER = {"size": 256, "width": 128, "layers": 8, "channels": 256, "blocks": 6, "fine_blocks": 0}


def test_the_papers_generator_costs_34_billion_multiply_adds_folded():
    assert abs(estimate.multiply_adds(PAPER) / 1e9 - 34.5) < 0.1


def test_a_slow_preset_is_announced_and_a_quick_one_is_not(capsys, monkeypatch):
    monkeypatch.setattr(estimate.shutil, "which", lambda name: None)
    monkeypatch.setattr(estimate, "matrix_rate", lambda: 1e11)
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    estimate.announce_duration(config)
    said = capsys.readouterr().out
    assert "hours" in said and "workflow/presets/demo.yaml" in said
    demo = yaml.safe_load((ROOT / "workflow/presets/demo.yaml").read_text())
    for section in ("train_stage1", "train_stage2"):
        config[section]["schedule"] |= demo[section]["schedule"]
    config["model"] |= demo["model"]
    estimate.announce_duration(config)
    assert capsys.readouterr().out == ""


def test_the_measured_matrix_rate_is_that_of_a_computer():
    assert 1e9 < estimate.matrix_rate() < 1e15
