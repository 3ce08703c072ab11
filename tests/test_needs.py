import pytest
import torch

from pipeline import needs
from tests.portrait_for_tests import LAYOUT

TINY = {"size": 32, **LAYOUT, "upsampling": "bilinear", "position": True}


def test_presets_need_what_their_size_says():
    found = {name: needs.needs_of(name, 1e11, on_gpu=False) for name in needs.PRESETS}
    assert set(found) == {"default", "demo", "fast", "paper"}
    assert found["demo"].hours < found["fast"].hours < found["default"].hours < found["paper"].hours
    assert found["demo"].memory < found["fast"].memory < found["default"].memory
    assert 0.1 < found["demo"].hours < 0.5  # hours, on two cores of 2025
    faster = needs.needs_of("default", 2e11, on_gpu=False)
    assert faster.hours == pytest.approx(found["default"].hours / 2)


def test_on_a_gpu_the_time_is_that_of_its_own_steps(monkeypatch):
    monkeypatch.setattr(needs, "step_seconds", lambda layout, batch, place: 0.01 * batch)
    images = 60000 + needs.GPU_STAGE2_FACTOR * 80000
    looking = needs.needs_of("default", 1e11, on_gpu=True).hours - 0.01 * images / 3600
    assert 0 < looking < 0.2


def test_a_step_of_the_generator_is_timed():
    assert 0 < needs.step_seconds(TINY, 2, torch.device("cpu")) < 5
