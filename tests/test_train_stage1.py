from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline import train_stage1, training
from pipeline.errors import InputError
from pipeline.motion import load_motion
from pipeline.portrait import Layout, Renderer, build_generator, load_portrait
from pipeline.training import Schedule
from tests.project_for_tests import in_two_processes, on_two_nodes
from tests.stores_for_tests import write_clip
from tests.textbook import textbook

LAYOUT = Layout(
    size=32,
    width=16,
    layers=3,
    channels=16,
    blocks=1,
    fine_blocks=0,
    code=4,
    upsampling="bilinear",
    position=True,
    driving="video",
)


def schedule(**changes) -> Schedule:
    values = {"images": 160, "batch": 4, "optimiser": "muon", "rate": 3e-3, "decay": True, "average": 0.9}
    return Schedule(**values | {"seed": 0, "save_minutes": 1e9} | changes)


def train(folder, clip, device="cpu", **changes):
    out = folder / "stage1.pt"
    train_stage1.main(
        **clip,
        out=out,
        history=folder / "history.tsv",
        preview=folder / "preview.png",
        layout=LAYOUT,
        schedule=schedule(**changes),
        weights=train_stage1.Weights(reconstruction=100, mouth=2, eyes=4, velocity=1, lips=1),
        held_out=0.25,
        blinks=0,
        device=device,
    )
    return out


def weights_of(path):
    portrait = load_portrait(path, torch.device("cpu"))
    return [portrait.codes, *portrait.generator.state_dict().values()]


def interrupt(monkeypatch, after):
    """Let the training be killed once `after` steps are done and saved."""
    real = training.Checkpoint.save_if_due

    def save_and_die(self, step, history):
        self.interval = 0
        real(self, step, history)
        if step == after:
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Checkpoint, "save_if_due", save_and_die)


def test_training_learns_the_picture(tmp_path):
    train(tmp_path, write_clip(tmp_path / "clip"), images=1200)
    rows = np.genfromtxt(tmp_path / "history.tsv", names=True)
    assert rows["reconstruction"][-5:].mean() < 0.3 * rows["reconstruction"][0]
    assert rows["images"][-1] == 1200


@pytest.mark.parametrize("driving", ["video", "audio"])
def test_muon_and_adam_share_the_weights(driving):
    generator = build_generator(replace(LAYOUT, driving=driving, fine_blocks=1))
    codes = torch.nn.ParameterDict({"codes": torch.zeros(3, 4)})
    names = {id(weight): name for name, weight in [*generator.named_parameters(), *codes.named_parameters()]}

    def named(optimiser):
        return [names[id(weight)] for group in optimiser.param_groups for weight in group["params"]]

    muon, adam = (named(training.optimisers_of(generator, codes, schedule())[how]) for how in ("muon", "adam"))
    assert sorted(muon + adam) == sorted(names.values())
    features = {"mlp.0.weight", "mlp.1.weight", "trunk.down.weight", "trunk.blocks.0.expand.weight", "up2.weight"}
    assert features <= set(muon)
    others = {"codes", "rgb.weight", "out.weight", "mlp.0.bias", "up2.bias", "trunk.blocks.0.spread.weight"}
    assert others <= set(adam)
    assert not any("listen" in name for name in muon)
    alone = training.optimisers_of(generator, codes, schedule(optimiser="adam"))
    assert sorted(alone) == ["adam"] and sorted(named(alone["adam"])) == sorted(names.values())


def test_half_precision_is_within_two_grey_levels_of_the_textbook(tmp_path):
    clip = write_clip(tmp_path / "clip")
    person = load_portrait(train(tmp_path, clip, images=1200), torch.device("cpu"))
    motion, _ = load_motion(clip["face"], clip["gaze"], None)
    with torch.inference_mode():
        truth, _ = textbook(person.generator)(motion, person.code.expand(24, -1))
    ours = Renderer(person).pictures(motion).astype(float)
    assert ours.std() > 10
    apart = abs(ours - 255 * truth.permute(0, 2, 3, 1).numpy())
    assert np.quantile(apart, 0.99) <= 2  # a toy's few channels round harder than a portrait's many


def test_an_interrupted_training_continues_to_the_same_weights(tmp_path, monkeypatch, capsys):
    clip = write_clip(tmp_path / "clip")
    whole = weights_of(train(tmp_path / "whole", clip))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after=17)
        train(tmp_path / "broken", clip)
    assert not (tmp_path / "broken" / "stage1.pt").exists()
    resumed = weights_of(train(tmp_path / "broken", clip, save_minutes=1e8))
    assert "continuing at step 17" in capsys.readouterr().out
    for a, b in zip(whole, resumed, strict=True):
        assert torch.equal(a, b)
    logs = [(tmp_path / name / "history.tsv").read_text() for name in ("whole", "broken")]
    assert logs[0] == logs[1]
    assert not (tmp_path / "broken" / "stage1.checkpoint.pt").exists()


def test_a_checkpoint_of_another_configuration_is_not_continued(tmp_path, monkeypatch, capsys):
    clip = write_clip(tmp_path / "clip")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        interrupt(patch, after=5)
        train(tmp_path, clip, rate=1e-3)
    afresh = weights_of(train(tmp_path, clip))
    assert "starting afresh" in capsys.readouterr().out
    for a, b in zip(weights_of(train(tmp_path / "other", clip)), afresh, strict=True):
        assert torch.equal(a, b)


def test_a_damaged_checkpoint_is_not_continued(tmp_path, capsys):
    (tmp_path / "stage1.checkpoint.pt").write_bytes(b"PK broken")
    train(tmp_path, write_clip(tmp_path / "clip"))
    assert "unreadable" in capsys.readouterr().out


def test_a_checkpoint_of_other_code_is_not_continued(tmp_path, monkeypatch, capsys):
    clip = write_clip(tmp_path / "clip")
    whole = weights_of(train(tmp_path / "whole", clip))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(training, "code_digest", lambda step: f"{step} as it was")
        interrupt(patch, after=5)
        train(tmp_path / "upgraded", clip)
    afresh = weights_of(train(tmp_path / "upgraded", clip))
    assert "starting afresh" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(whole, afresh, strict=True))


def test_held_out_and_faceless_frames_are_never_learned(tmp_path):
    valid = np.ones(24, bool)
    valid[3:6] = False
    clip = write_clip(tmp_path / "clip", valid=valid)
    data = training.load_performing(**clip, audio=None, size=16, held_out=0.25, blinks=0, device=torch.device("cpu"))
    assert data.images.shape == (18, 3, 16, 16)
    seen = training.samples(data.valid, 30, 4, seed=0).flatten()
    assert sorted(set(seen.tolist())) == [0, 1, 2, *range(6, 18)]


def test_regions_hold_mouth_and_eyes_in_the_pictures_own_pixels(tmp_path):
    landmarks = np.full((24, 68, 2), 8, np.float32)
    landmarks[:, 48], landmarks[:, 54] = (4, 12), (12, 14)  # of a mouth 8 wide and 6 high with the others
    landmarks[:, 36, 0] = 4  # of an eye 4 wide
    clip = write_clip(tmp_path / "clip", size=32, landmarks=landmarks)
    data = training.load_performing(**clip, audio=None, size=16, held_out=0.25, blinks=0, device=torch.device("cpu"))
    assert data.regions.shape == (18, 3, 4)
    mouth, eye, point = data.regions[0].tolist()
    assert mouth == [1, 2.5, 7, 8.5] and point == [4, 4, 4, 4]
    assert eye == pytest.approx([1.7, 3.2, 4.3, 4.8]), "flat"


def test_every_epoch_sees_each_frame_once():
    pool = torch.arange(10) + 100
    seen = training.samples(pool, 5, 4, seed=3).flatten()
    assert sorted(seen[:10].tolist()) == sorted(seen[10:].tolist()) == pool.tolist()
    assert seen[:10].tolist() != seen[10:].tolist()
    assert torch.equal(training.samples(pool, 3, 4, seed=3), seen[:12].view(3, 4))  # a longer training begins the same


def test_a_clip_without_faces_is_refused_by_name(tmp_path):
    clip = write_clip(tmp_path / "clip", valid=np.zeros(24, bool))
    with pytest.raises(InputError, match=r"face\.h5: only 0 of the 18 frames"):
        train(tmp_path, clip)


def test_divergence_stops_the_training_with_a_remedy(tmp_path):
    with pytest.raises(InputError, match="lower `rate`"):
        train(tmp_path, write_clip(tmp_path / "clip"), rate=1e30)


def test_the_learning_rate_rises_and_falls():
    rates = [schedule(images=4000).rate_at(step) for step in range(1000)]
    assert max(rates) == pytest.approx(3e-3, rel=0.01) and rates[0] < 1e-4 and rates[-1] < 1e-5
    constant = [schedule(images=4000, decay=False).rate_at(step) for step in range(100, 1000)]
    assert set(constant) == {3e-3}


@pytest.mark.parametrize("launch", [in_two_processes, on_two_nodes])
def test_two_processes_learn_what_one_does(tmp_path, monkeypatch, launch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    clip = write_clip(tmp_path / "clip")
    one, two = tmp_path / "one", tmp_path / "two"
    train(one, clip, images=200)
    script = tmp_path / "train_in_float32.py"  # bfloat16 would round each process's part of a sum differently
    script.write_text(
        "from pathlib import Path\nfrom tests.test_train_stage1 import train\nimport torch\n"
        "torch.ops.mkldnn._is_mkldnn_bf16_supported = lambda: False\n"
        f"clip = {{name: Path({str(tmp_path / 'clip')!r}) / f'{{name}}.h5' for name in ('frames', 'face', 'gaze')}}\n"
        f"train(Path({str(two)!r}), clip, images=200)\n"
    )
    launch(script)
    logs = [np.genfromtxt(folder / "history.tsv", names=True)["reconstruction"] for folder in (one, two)]
    assert len(logs[0]) == 50
    np.testing.assert_allclose(*logs, rtol=1e-4)


def test_the_average_of_a_short_training_has_left_its_beginning_and_a_long_ones_decays_as_asked():
    network = torch.nn.Linear(1, 1)
    average = training.Average(network, 0.999)
    for step, value in enumerate([0.0] * 10 + [1.0] * 90):
        torch.nn.init.constant_(network.weight, value)
        average.update(step)
    assert average.network.weight.item() > 0.95  # .999 from the first step on would leave .09
    before = average.network.weight.item()
    torch.nn.init.constant_(network.weight, 0.0)
    average.update(10**6)
    assert average.network.weight.item() == pytest.approx(0.999 * before)
