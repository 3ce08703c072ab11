from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import training
from pipeline.portrait import load_portrait
from pipeline.preview import MOMENTS, SHOWN, Preview
from pipeline.sheets import read
from tests.stores_for_tests import write_clip
from tests.test_train_stage1 import interrupt, train, weights_of

STEPS = 100


def preview(clip: dict, out: Path) -> Preview:
    paths = clip["frames"], clip["face"], clip["gaze"], None
    return Preview(out, "Stage I", paths, held_out=0.5, steps=STEPS, size=32)


def test_frames_shown_are_none_that_training_sees(tmp_path):
    drawing = preview(write_clip(tmp_path), tmp_path / "preview.png")
    assert len(drawing.truth) == len(drawing.words) == SHOWN
    assert all(float(words.split()[0]) >= 12 / 25 - 0.05 for words in drawing.words)
    assert sorted(drawing.due) == list(MOMENTS)


def test_the_picture_keeps_its_size_and_fills_column_by_column(tmp_path):
    clip = write_clip(tmp_path)
    portrait = load_portrait(train(tmp_path, clip), torch.device("cpu"))
    drawing = preview(clip, tmp_path / "grows.png")
    seen = []
    for step in range(1, STEPS + 1):
        drawing.draw_if_due(step, portrait)
        if step in drawing.due:
            seen.append(read(tmp_path / "grows.png").astype(int))
    assert len(seen) == len(MOMENTS) and len({picture.shape for picture in seen}) == 1
    changed = [np.flatnonzero(abs(b - a).sum((0, 2))) for a, b in pairwise(seen)]
    assert all(a.max() < b.min() for a, b in pairwise(changed))


def test_the_error_of_the_shown_frames_is_logged_at_the_moments_and_falls_as_a_portrait_learns(tmp_path):
    clip = write_clip(tmp_path)
    train(tmp_path, clip, images=1200)
    log = np.genfromtxt(tmp_path / "history.tsv", names=True)["held_out"]
    known = log[np.isfinite(log)]
    assert len(log) == 50 and len(known) == len(MOMENTS) and known[-1] < 0.4 * known[0]


def test_the_error_is_the_mean_distance_of_the_pictures_from_the_truth_and_given_once(tmp_path):
    clip = write_clip(tmp_path)
    portrait = load_portrait(train(tmp_path, clip), torch.device("cpu"))
    drawing = preview(clip, tmp_path / "preview.png")
    drawing.draw_if_due(MOMENTS[0], portrait)
    drawing.truth = list(drawing.drawn[MOMENTS[0]].numpy())
    drawing.truth[0] = 255 - drawing.truth[0]
    drawing.draw_if_due(MOMENTS[1], portrait)
    expected = np.abs(2.0 * drawing.truth[0] - 255).mean() / 255 / SHOWN
    assert drawing.take_error() == pytest.approx(expected) and np.isnan(drawing.take_error())


def test_drawing_changes_neither_weights_nor_random_numbers_nor_modes(tmp_path):
    clip = write_clip(tmp_path)
    portrait = load_portrait(train(tmp_path, clip), torch.device("cpu"))
    generator = portrait.generator.train()
    before = [value.clone() for value in generator.state_dict().values()], torch.get_rng_state()
    preview(clip, tmp_path / "preview.png").draw_if_due(MOMENTS[0], portrait)
    assert (tmp_path / "preview.png").exists() and all(module.training for module in generator.modules())
    assert torch.equal(before[1], torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(before[0], generator.state_dict().values(), strict=True))


def test_what_was_drawn_before_a_kill_is_there_after_it(tmp_path, monkeypatch):
    clip = write_clip(tmp_path / "clip")
    whole = weights_of(train(tmp_path / "whole", clip))
    with monkeypatch.context() as patch:
        interrupt(patch, after=17)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "broken", clip)
        (tmp_path / "broken/preview.png").unlink()  # as Snakemake does with an output that is not whole
    resumed = weights_of(train(tmp_path / "broken", clip))
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    pictures = [(tmp_path / name / "preview.png").read_bytes() for name in ("whole", "broken")]
    assert pictures[0] == pictures[1]


def test_a_checkpoint_without_its_pictures_is_not_continued(tmp_path, capsys):
    out = tmp_path / "stage1.pt"
    torch.save({"fingerprint": "same", "step": 3, "history": []}, out.with_suffix(".checkpoint.pt"))
    checkpoint = training.Checkpoint(out, "same", {"preview": None}, save_minutes=1)
    assert checkpoint.resume() == (0, []) and "starting afresh" in capsys.readouterr().out
